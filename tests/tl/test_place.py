from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


class Known:
    """A model whose posterior stands in the data: means in the first half of the features, variances in the other."""

    is_trained_ = True

    def __init__(self, n_latent: int = 3):
        self.n_latent = n_latent
        self.module = torch.nn.Linear(1, 1)

    def get_var_names(self) -> list[str]:
        return [str(j) for j in range(2 * self.n_latent)]

    def get_latent_representation(self, adata: AnnData, *, return_dist: bool = False) -> tuple:
        assert return_dist
        return adata.X[:, : self.n_latent].copy(), adata.X[:, self.n_latent :].copy()


def cells(n: int, seed: int, *, sd: float = 0.1, n_latent: int = 3) -> AnnData:
    """Three states at the corners of a triangle; all further dimensions are dead."""
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 3, n)
    mean = rng.normal(size=(n, n_latent)) * 1e-3
    mean[:, :2] = np.array([[0, 0], [3, 0], [0, 3]])[state] + 0.5 * rng.normal(size=(n, 2))
    var = np.ones((n, n_latent))
    var[:, :2] = sd**2
    adata = ad.AnnData(np.c_[mean, var])
    adata.obs["state"] = pd.Categorical(np.array(["CD4+/CD25", "B", "NK"])[state], ["NK", "CD4+/CD25", "B"])
    return adata


@pytest.fixture(scope="module")
def reference() -> AnnData:
    return cells(600, 0)


@pytest.fixture
def new() -> AnnData:
    return cells(200, 1)


def test_position_and_call(reference: AnnData, new: AnnData):
    wi.tl.place(new, Known(), reference, label_key="state")
    np.testing.assert_allclose(new.obsm["place"], new.X[:, :3], rtol=1e-6)
    np.testing.assert_allclose(new.obsm["place_sd"], np.sqrt(new.X[:, 3:]), rtol=1e-6)
    # the dead dimension takes no part
    lda = LinearDiscriminantAnalysis().fit(reference.X[:, :2], reference.obs["state"].cat.codes)
    expected = lda.predict_proba(new.X[:, :2])
    np.testing.assert_allclose(new.obsm["place_probs"], expected, atol=1e-9)
    assert list(new.uns["place"]["by_label"]["label"]) == ["NK", "CD4+/CD25", "B"]
    assert list(new.obs["place_label"].cat.categories) == ["NK", "CD4+/CD25", "B"]
    np.testing.assert_allclose(new.obs["place_prob"], expected.max(axis=1))
    entropy = -np.sum(expected * np.log(np.maximum(expected, 1e-300)), axis=1)
    np.testing.assert_allclose(new.obs["place_entropy"], entropy, atol=1e-9)
    assert (new.obs["place_label"] == new.obs["state"]).mean() > 0.97


def test_held_out_scores_are_those_of_new_cells(reference: AnnData):
    """What the reference promises holds on cells that no one has seen."""
    new = cells(2000, 2)
    wi.tl.place(new, Known(), reference, label_key="state")
    told = new.uns["place"]["params"]
    accuracy = (new.obs["place_label"] == new.obs["state"]).mean()
    assert told["held_out_accuracy"] == pytest.approx(accuracy, abs=0.01)
    assert told["majority_accuracy"] == reference.obs["state"].value_counts(normalize=True).max()
    by_label = new.uns["place"]["by_label"].set_index("label")
    for k, label in enumerate(by_label.index):
        auc = roc_auc_score(new.obs["state"] == label, new.obsm["place_probs"][:, k])
        assert by_label.loc[label, "held_out_auc"] == pytest.approx(auc, abs=0.01)
        assert by_label.loc[label, "n_called"] == (new.obs["place_label"] == label).sum()
        assert by_label.loc[label, "n_reference"] == (reference.obs["state"] == label).sum()


def test_cells_like_the_reference_are_inside_and_others_outside(reference: AnnData):
    new = cells(2000, 3)
    wi.tl.place(new, Known(), reference, label_key="state")
    # uniform, because reference cells were measured against clouds that had not seen them
    for level in (0.01, 0.1, 0.5):
        assert (new.obs["place_outside_pval"] <= level).mean() == pytest.approx(level, abs=0.015 + level / 10)
    far = cells(50, 4)
    far.X[:, :2] += [8, 8]
    wi.tl.place(far, Known(), reference, label_key="state")
    assert far.obs["place_outside"].all()
    assert far.obs["place_outside_pval"].max() == pytest.approx(1 / 601)
    assert far.obs["place_distance"].min() > 5
    # the classifier names a state all the same
    assert far.obs["place_prob"].median() > 0.9
    at_a_centre = cells(1, 0)
    at_a_centre.X[0, :2] = [3, 0]
    wi.tl.place(at_a_centre, Known(), reference, label_key="state")
    assert at_a_centre.obs["place_nearest"].item() == "B"
    assert at_a_centre.obs["place_outside_pval"].item() > 0.9


def test_borderline_lies_between_states(reference: AnnData):
    new = cells(3, 0)
    new.X[:, :2] = [[0, 0], [1.5, 0], [3, 0]]
    wi.tl.place(new, Known(), reference, label_key="state")
    assert new.obs["place_borderline"].tolist() == [False, True, False]
    assert new.obs["place_entropy"].argmax() == 1


def test_an_uncertain_code_shows(reference: AnnData):
    new = cells(2, 0)
    new.X[:, :2] = [3, 0]
    new.X[1, 3:] = 9.0
    wi.tl.place(new, Known(), reference, label_key="state")
    sure, unsure = new.obs["place_posterior_prob"]
    assert sure > 0.99
    assert unsure < 0.8
    # the mean is all that is known of the cell, and it is the same
    assert new.obs["place_prob"].iloc[0] == new.obs["place_prob"].iloc[1]


def test_what_is_said_of_a_cell_depends_on_no_other(reference: AnnData, new: AnnData):
    alone = new[[7]].copy()
    for adata in (new, alone):
        wi.tl.place(adata, Known(), reference, label_key="state", method="logistic")
    pd.testing.assert_frame_equal(new.obs.iloc[[7]], alone.obs, check_categorical=False)


def test_thresholds_of_the_diagnostic_dimensions(new: AnnData):
    reference = cells(600, 0)
    reference.obsm["X_wi"] = reference.X[:, :3].copy()
    wi.tl.rank_latent(reference, "state", floors=[])
    new.X[0, :2], new.X[1, :2] = [3, 0], [1.5, 0]
    wi.tl.place(new, Known(), reference, label_key="state", rank_key="rank_latent")
    diagnostic = reference.uns["rank_latent"]["diagnostic"].set_index("group")
    for i, label in enumerate(new.obs["place_label"].iloc[:20]):
        row = diagnostic.loc[label]
        mean = new.X[i, int(row["dimension"][1:])]
        expected = norm.cdf(row["direction"] * (mean - row["threshold"]) / 0.1)
        assert new.obs["place_threshold_prob"].iloc[i] == pytest.approx(expected, abs=1e-6)
    between = new.obs["place_threshold_prob"].between(0.2, 0.8, inclusive="neither")
    assert (new.obs["place_borderline"] == (between | (new.obs["place_prob"] < 0.8))).all()
    with pytest.raises(KeyError, match=r"tl\.rank_latent\(reference, 'state', key_added='other'\)"):
        wi.tl.place(new, Known(), reference, label_key="state", rank_key="other")
    reference.obsm["X_wi"] = -reference.obsm["X_wi"]
    with pytest.raises(ValueError, match="not this model's latent code"):
        wi.tl.place(new, Known(), reference, label_key="state", rank_key="rank_latent")


@pytest.mark.parametrize("n_states", [2, 3])
def test_trained_model_calls_new_cells_as_well_as_its_own(n_states: int):
    adata = wi.datasets.simulate_factors(500, 100, 3, n_cell_types=n_states, n_batches=1)
    known, new = adata[:300].copy(), adata[300:].copy()
    wi.model.BetaLinearSCVI.setup_anndata(known)
    model = wi.model.BetaLinearSCVI(known, n_latent=4, seed=0)
    model.train(max_epochs=40, batch_size=64, seed=0, enable_progress_bar=False)
    placed = wi.tl.place(new, model, known, label_key="cell_type", copy=True)
    assert "place" not in new.uns
    again = wi.tl.place(known, model, known, label_key="cell_type", copy=True)
    auc = [
        [
            roc_auc_score(each.obs["cell_type"] == label, each.obsm["place_probs"][:, k])
            for k, label in enumerate(each.uns["place"]["by_label"]["label"])
        ]
        for each in (placed, again)
    ]
    np.testing.assert_allclose(*auc, atol=0.01)
    assert (placed.obs["place_label"] == placed.obs["cell_type"]).mean() > 0.97
    assert placed.obs["place_outside"].mean() < 0.06
    assert placed.uns["place"]["params"]["model_class"] == "BetaLinearSCVI"


@pytest.mark.parametrize("method", ["lda", "logistic"])
def test_what_is_said_does_not_depend_on_the_axes_the_model_is_read_in(method: str):
    """A rotation leaves the distribution of codes as it is, though variances of single dimensions are then not all."""
    adata = wi.datasets.simulate_factors(300, 60, 3, n_cell_types=3, n_batches=1)
    known, new = adata[:200].copy(), adata[200:].copy()
    wi.model.BetaLinearSCVI.setup_anndata(known)
    model = wi.model.BetaLinearSCVI(known, n_latent=4, seed=0)
    model.train(max_epochs=40, batch_size=64, seed=0, enable_progress_bar=False)
    trained = wi.tl.place(new, model, known, label_key="cell_type", method=method, copy=True)
    model.rotate("varimax")
    assert np.abs(model.get_latent_representation(new) - trained.obsm["place"]).max() > 0.1
    rotated = wi.tl.place(new, model, known, label_key="cell_type", method=method, copy=True)
    pd.testing.assert_frame_equal(rotated.obs, trained.obs)
    np.testing.assert_array_equal(rotated.obsm["place_probs"], trained.obsm["place_probs"])
    pd.testing.assert_frame_equal(rotated.uns["place"]["by_label"], trained.uns["place"]["by_label"])
    # positions are in the axes of the day, as the model gives them
    mean, var = model.get_latent_representation(new, return_dist=True)
    np.testing.assert_allclose(rotated.obsm["place"], mean, atol=1e-5)
    np.testing.assert_allclose(rotated.obsm["place_sd"], np.sqrt(var), atol=1e-5)


def test_survives_writing(reference: AnnData, new: AnnData, tmp_path: Path):
    wi.tl.place(new, Known(), reference, label_key="state", key_added="here")
    new.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.obs, new.obs)
    assert back.uns["here"]["by_label"]["label"].tolist() == ["NK", "CD4+/CD25", "B"]
    np.testing.assert_array_equal(back.obsm["here_probs"], new.obsm["here_probs"])
    assert back.uns["here"]["params"]["held_out_accuracy"] > 0.9


def test_bad_settings(reference: AnnData, new: AnnData):
    for settings, message in (
        ({"method": "svm"}, "method='svm'"),
        ({"n_samples": 0}, "n_samples=0"),
        ({"borderline": 0.3}, "borderline=0.3"),
        ({"outside": 1.0}, "outside=1.0"),
        ({"active_variance": 1e6}, "no latent dimension varies"),
    ):
        with pytest.raises(ValueError, match=message):
            wi.tl.place(new, Known(), reference, label_key="state", **settings)
    assert "place" not in new.uns


def test_bad_data(reference: AnnData, new: AnnData):
    with pytest.raises(KeyError, match=r"label_key='stat'.*Did you mean 'state'"):
        wi.tl.place(new, Known(), reference, label_key="stat")
    with pytest.raises(ValueError, match="adata lacks 1 of the 6 features"):
        wi.tl.place(new[:, :5].copy(), Known(), reference, label_key="state")
    with pytest.raises(TypeError, match="no return_dist"):
        wi.tl.place(new, object(), reference, label_key="state")
    untrained = Known()
    untrained.is_trained_ = False
    with pytest.raises(ValueError, match=r"call model\.train"):
        wi.tl.place(new, untrained, reference, label_key="state")
    few = reference[:6].copy()
    few.obs["state"] = ["a", "a", "b", "b", "c", "c"]
    with pytest.raises(ValueError, match="6 cells for 3 labels"):
        wi.tl.place(new, Known(), few, label_key="state")
    other = reference.copy()
    other.obs["donor"] = other.obs["state"].astype(str)
    with pytest.raises(ValueError, match="groups='donor' cannot be held out"):
        wi.tl.place(new, Known(), other, label_key="state", groups="donor")
