from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

import scwhatif as wi
from scwhatif.tl._axis import positions

if TYPE_CHECKING:
    from pathlib import Path

NAME = "ctrl_to_stim"


def donors(effect: float = 2.0, n: int = 40, seed: int = 0) -> ad.AnnData:
    """Six donors far apart, each with control and stimulated cells; the effect is on the second dimension."""
    rng = np.random.default_rng(seed)
    donor = np.repeat([f"d{i}" for i in range(6)], n)
    stimulated = np.tile([False] * (n // 2) + [True] * (n // 2), 6)
    z = rng.normal(size=(len(donor), 4)) + np.repeat(rng.normal(size=(6, 4)) * [8, 0, 0, 0], n, axis=0)
    z[:, 1] += effect * stimulated
    obs = {"donor": donor, "condition": np.where(stimulated, "stim", "ctrl"), "type": np.tile(["a", "b"], len(z) // 2)}
    return ad.AnnData(obs=pd.DataFrame(obs, index=[str(i) for i in range(len(z))]), obsm={"X_wi": z})


@pytest.fixture
def adata() -> ad.AnnData:
    return donors()


def test_the_mean_difference(adata: ad.AnnData):
    wi.tl.axis(adata, "condition", ("ctrl", "stim"))
    z = adata.obsm["X_wi"]
    found = adata.uns["axis"][NAME]
    origin, target = (z[adata.obs["condition"] == state].mean(axis=0) for state in ("ctrl", "stim"))
    np.testing.assert_allclose(found["vector"], target - origin)
    np.testing.assert_allclose(found["unit"], (target - origin) / np.linalg.norm(target - origin))
    np.testing.assert_allclose(found["origin"], origin)
    assert found["length"] == pytest.approx(np.linalg.norm(target - origin))
    position = adata.obs[f"axis_{NAME}"]
    assert position[adata.obs["condition"] == "ctrl"].mean() == pytest.approx(0)
    assert position[adata.obs["condition"] == "stim"].mean() == pytest.approx(1)
    assert found["auc"] == pytest.approx(roc_auc_score(adata.obs["condition"] == "stim", position))
    np.testing.assert_allclose(positions(np.stack([origin, target]), found), [0, 1], atol=1e-12)


def test_within_donors_their_distance_is_no_part_of_it(adata: ad.AnnData):
    # one donor mostly stimulated: the plain difference points from donor to donor
    adata = adata[~((adata.obs["donor"] == "d0") & (adata.obs["condition"] == "ctrl")) | (adata.obs["type"] == "a")]
    adata = adata.copy()
    wi.tl.axis(adata, "condition", ("ctrl", "stim"), within="donor", groups="donor")
    found = adata.uns["axis"][NAME]
    differences = [
        adata.obsm["X_wi"][here & (adata.obs["condition"] == "stim")].mean(axis=0)
        - adata.obsm["X_wi"][here & (adata.obs["condition"] == "ctrl")].mean(axis=0)
        for here in (adata.obs["donor"] == name for name in sorted(set(adata.obs["donor"])))
    ]
    np.testing.assert_allclose(found["vector"], np.mean(differences, axis=0))
    np.testing.assert_allclose(found["by_level"]["length"], differences @ found["unit"])
    assert found["by_level"]["n_first"].tolist() == [10, 20, 20, 20, 20, 20]
    assert found["by_level"]["cosine"].min() > 0.6
    assert found["held_out_auc"] > 0.85
    assert len(found["fold_auc"]) == 5


def test_levels_without_both_states_take_no_part(adata: ad.AnnData):
    adata = adata[~((adata.obs["donor"] == "d5") & (adata.obs["condition"] == "ctrl"))].copy()
    alone = adata[adata.obs["donor"] != "d5"].copy()
    for each in (adata, alone):
        wi.tl.axis(each, "condition", ("ctrl", "stim"), within="donor")
    np.testing.assert_allclose(adata.uns["axis"][NAME]["vector"], alone.uns["axis"][NAME]["vector"])
    assert len(adata.uns["axis"][NAME]["by_level"]) == 5
    assert adata.obs[f"axis_{NAME}"].notna().all()


@pytest.mark.parametrize("method", ["lda", "logistic"])
def test_discriminants_turn_away_from_scatter(method: str):
    rng = np.random.default_rng(0)
    label = np.repeat(["a", "b"], 300)
    # both dimensions differ, but cells scatter ten times as widely along the first
    z = rng.normal(size=(600, 2)) * [10, 1] + np.outer(label == "b", [2, 2])
    adata = ad.AnnData(obs=pd.DataFrame({"label": label}, index=[str(i) for i in range(600)]), obsm={"X_wi": z})
    wi.tl.axis(adata, "label", ("a", "b"), method="mean", name="mean")
    wi.tl.axis(adata, "label", ("a", "b"), method=method, name="other")
    mean, other = adata.uns["axis"]["mean"], adata.uns["axis"]["other"]
    assert abs(other["unit"][0]) < 0.1 < 0.5 < abs(mean["unit"][0])
    assert other["held_out_auc"] > mean["held_out_auc"] + 0.1
    assert other["length"] == pytest.approx((other["target"] - other["origin"]) @ other["unit"])
    if method == "lda":
        reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(z, label == "b").coef_[0]
        np.testing.assert_allclose(other["unit"], reference / np.linalg.norm(reference), rtol=0.05, atol=0.01)


def test_no_difference_scores_chance_on_cells_held_out():
    scores = []
    for seed in range(5):
        adata = donors(0.0, seed=seed)
        wi.tl.axis(adata, "condition", ("ctrl", "stim"), within="donor", groups="donor")
        scores.append([adata.uns["axis"][NAME][name] for name in ("auc", "held_out_auc")])
    fitted, held_out = np.mean(scores, axis=0)
    assert held_out == pytest.approx(0.5, abs=0.05)
    assert fitted > held_out


def test_axes_are_kept_side_by_side(adata: ad.AnnData):
    wi.tl.axis(adata, "condition", ("ctrl", "stim"))
    wi.tl.axis(adata, "condition", ("stim", "ctrl"), name="back")
    assert set(adata.uns["axis"]) == {NAME, "back"}
    np.testing.assert_allclose(adata.uns["axis"]["back"]["vector"], -adata.uns["axis"][NAME]["vector"])
    other = wi.tl.axis(adata, "type", ("a", "b"), copy=True)
    assert set(other.uns["axis"]) == {NAME, "back", "a_to_b"}
    assert "a_to_b" not in adata.uns["axis"]


def test_survives_writing(adata: ad.AnnData, tmp_path: Path):
    adata.obs["label"] = np.where(adata.obs["condition"] == "stim", "CD4+/CD25 T", "B")
    wi.tl.axis(adata, "label", ("B", "CD4+/CD25 T"), within="donor")
    adata.write_h5ad(tmp_path / "x.h5ad")
    back, there = (each.uns["axis"]["B_to_CD4+|CD25 T"] for each in (ad.read_h5ad(tmp_path / "x.h5ad"), adata))
    for name in ("vector", "unit", "origin", "target", "fold_auc", "length", "auc", "held_out_auc"):
        np.testing.assert_array_equal(back[name], there[name])
    assert back["by_level"].astype(there["by_level"].dtypes).equals(there["by_level"])
    assert list(back["params"]["states"]) == ["B", "CD4+/CD25 T"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"states": ("ctrl", "ctrl")}, ValueError, "two different groups"),
        ({"states": "ctrl"}, ValueError, "two different groups"),
        ({"states": ("ctrl", "drug")}, KeyError, r"states=\['drug'\]"),
        ({"groupby": "cond"}, KeyError, "condition"),
        ({"use_rep": "X_pca"}, KeyError, "X_pca"),
        ({"method": "svm"}, ValueError, "method='svm'"),
        ({"within": "batch"}, KeyError, "within='batch'"),
        ({"within": "condition"}, ValueError, "no value of adata.obs\\['condition'\\] has cells of both"),
        ({"groups": "condition"}, ValueError, "cannot be held out"),
        ({"n_splits": 1}, ValueError, "n_splits=1"),
        ({"name": "a/b"}, ValueError, "must not be empty or hold '/'"),
        ({"use_rep": "flat"}, ValueError, "do not differ"),
    ],
)
def test_bad_input(adata: ad.AnnData, arguments: dict[str, Any], error: type, message: str):
    adata.obsm["flat"] = np.zeros((adata.n_obs, 2))
    with pytest.raises(error, match=message):
        wi.tl.axis(adata, **{"groupby": "condition", "states": ("ctrl", "stim"), **arguments})
    assert "axis" not in adata.uns
