from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi

import scwhatif as wi
from scwhatif._compat import seeded

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    Fitted = tuple[AnnData, wi.model.BetaLinearSCVI]

KEY = "pseudo_profiles"


@pytest.fixture(scope="module")
def trained() -> Fitted:
    adata = wi.datasets.simulate_factors(
        400, 80, 3, n_cell_types=3, n_batches=2, batch_effect=0.2, loading_scale=0.8, seed=0
    )
    # a name that h5ad has no room for as a column
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories({"type_0": "CD4+/CD25"})
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = wi.model.BetaLinearSCVI(adata, n_latent=4, seed=0)
    model.train(max_epochs=120, seed=0, accelerator="cpu", enable_progress_bar=False)
    return adata, model


@pytest.fixture
def fitted(trained: Fitted) -> Fitted:
    adata, model = trained
    return adata.copy(), model


def true_profiles(adata: AnnData) -> pd.DataFrame:
    """Noise-free share of each gene in the mean cell of each type."""
    rate = adata.layers["true_rate"] / adata.layers["true_rate"].sum(axis=1, keepdims=True)
    return pd.DataFrame(rate, columns=adata.var_names).groupby(adata.obs["cell_type"].to_numpy()).mean().T


def frame(adata: AnnData, key: str = KEY) -> pd.DataFrame:
    return pd.DataFrame(adata.varm[key], adata.var_names, adata.uns[key]["states"].index)


def test_groups_equal_decode_of_their_centroids(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type")
    z = pd.DataFrame(model.get_latent_representation(), adata.obs_names)
    centroids = z.groupby(adata.obs["cell_type"], observed=True).mean()
    expected = model.decode(centroids, library_size=1e4).T
    np.testing.assert_allclose(frame(adata)[list(centroids.index)], expected, rtol=1e-5, atol=1e-6)
    states = adata.uns[KEY]["states"]
    assert states["n_cells"].tolist() == adata.obs["cell_type"].value_counts(sort=False).tolist()
    assert (states["family"] == "cell_type").all()
    assert not states["extrapolated"].any()


def test_every_state_equals_decode_of_its_code(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type", dims=["z1", 3], batch="batch_1", library_size=1.0)
    codes = adata.uns[KEY]["states"][["z0", "z1", "z2", "z3"]]
    np.testing.assert_allclose(
        adata.varm[KEY].T, model.decode(codes, batch="batch_1", library_size=1.0), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(adata.varm[KEY].sum(axis=0), 1.0, rtol=1e-5)


def test_group_profiles_are_close_to_the_noise_free_truth(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type")
    truth = true_profiles(adata)
    found = frame(adata)[list(truth.columns)]
    # contrasts between groups, where the baseline that all share cannot help
    contrast = np.log(found).sub(np.log(found).mean(axis=1), axis=0)
    expected = np.log(truth).sub(np.log(truth).mean(axis=1), axis=0)
    assert np.corrcoef(contrast.to_numpy().ravel(), expected.to_numpy().ravel())[0, 1] > 0.98


def test_log_rates_are_linear_in_the_cursor(fitted: Fitted):
    """Log ratios of two steps are proportional to the loadings, up to the constant that normalises over genes."""
    adata, model = fitted
    # one batch, because an average over batches of linear log-rates is not linear
    wi.tl.pseudo_profiles(adata, model, dims="z0", values=[-0.5, 0.0, 1.0], batch="batch_0", library_size=1.0)
    log_rate = np.log(adata.varm[KEY].astype(np.float64))
    first, second = np.diff(log_rate, axis=1).T
    slope = model.get_loadings()["z0"].to_numpy()
    for step, width in [(first, 0.5), (second, 1.0)]:
        np.testing.assert_allclose(step - step.mean(), width * slope, rtol=0, atol=1e-5)


def test_default_values_are_quantiles_and_others_stay_at_the_mean(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model)
    z = model.get_latent_representation().astype(np.float64)
    states = adata.uns[KEY]["states"]
    assert states["family"].tolist() == [f"z{j}" for j in range(4) for _ in range(2)]
    for j in range(4):
        part = states[states["family"] == f"z{j}"]
        np.testing.assert_allclose(part["value"], np.quantile(z[:, j], [0.05, 0.95]), rtol=1e-6)
        np.testing.assert_array_equal(part[f"z{j}"], part["value"])
        others = [f"z{k}" for k in range(4) if k != j]
        np.testing.assert_allclose(part[others], np.tile(np.delete(z.mean(axis=0), j), (2, 1)), atol=1e-6)


def test_reference_zero(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, dims=2, values=[0.0], reference="zero")
    np.testing.assert_allclose(adata.varm[KEY][:, 0], model.decode(np.zeros(4), library_size=1e4).iloc[0], rtol=1e-6)
    # alone in its family and equal to the reference: nothing stands out
    np.testing.assert_allclose(adata.uns[KEY]["markers"]["log2_fold_change"], 0.0, atol=1e-6)


def test_extrapolation_is_flagged(fitted: Fitted):
    adata, model = fitted
    z0 = model.get_latent_representation()[:, 0]
    inside, outside = float(np.quantile(z0, 0.99)), float(np.quantile(z0, 0.996))
    with pytest.warns(UserWarning, match=r"z0 = .*: outside the 0.5–99.5 % range"):
        wi.tl.pseudo_profiles(adata, model, dims="z0", values=[inside, outside])
    assert adata.uns[KEY]["states"]["extrapolated"].tolist() == [False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        wi.tl.pseudo_profiles(adata, model, dims="z0", values=[inside])


def test_markers_are_the_largest_fold_changes(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type", dims="z0", n_top=7)
    profiles, markers = frame(adata), adata.uns[KEY]["markers"]
    assert markers.groupby("state", sort=False).size().tolist() == [7] * 5
    groups = list(profiles.columns[:3])
    rest = profiles[groups[1:]].mean(axis=1)
    expected = np.log2((profiles[groups[0]] + 1) / (rest + 1)).sort_values(ascending=False)[:7]
    found = markers[markers["state"] == groups[0]].set_index("gene")
    np.testing.assert_allclose(found["log2_fold_change"], expected, rtol=1e-4)
    assert list(found.index) == list(expected.index)
    # a pure state is compared with the other end of its own dimension
    low, high = profiles.columns[3:]
    up = markers[markers["state"] == high].set_index("gene")
    np.testing.assert_allclose(up["rest"], profiles.loc[up.index, low], rtol=1e-5)


def test_markers_find_the_planted_programmes(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type", n_top=8)
    truth = 1e4 * true_profiles(adata) + 1
    for group in ("CD4+/CD25", "type_1"):
        top = adata.uns[KEY]["markers"].query("state == @group")["gene"]
        planted = (truth[group] / truth.drop(columns=group).mean(axis=1)).nlargest(8).index
        assert len(set(top) & set(planted)) >= 7


def test_markers_do_not_depend_on_the_library_size(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type", key_added="ten_thousand")
    wi.tl.pseudo_profiles(adata, model, "cell_type", library_size=1.0, key_added="one")
    a, b = (adata.uns[key]["markers"] for key in ("ten_thousand", "one"))
    np.testing.assert_allclose(a["log2_fold_change"], b["log2_fold_change"], rtol=1e-4)


def test_representation_in_obsm(fitted: Fitted):
    adata, model = fitted
    adata.obsm["X_wi"] = model.get_latent_representation()
    own = wi.tl.pseudo_profiles(adata, model, "cell_type", copy=True)
    given = wi.tl.pseudo_profiles(adata, model, "cell_type", use_rep="X_wi", copy=True)
    assert KEY not in adata.varm
    np.testing.assert_array_equal(own.varm[KEY], given.varm[KEY])


def test_continuous_features():
    adata = wi.datasets.simulate_factors(120, 20, 2, n_cell_types=2, likelihood="normal")
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood="normal", seed=0)
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    wi.tl.pseudo_profiles(adata, model, "cell_type", n_top=3)
    markers = adata.uns[KEY]["markers"]
    assert "log2_fold_change" not in markers
    np.testing.assert_allclose(markers["difference"], markers["expression"] - markers["rest"], atol=1e-6)


def test_neutral_dimensions_are_zero_in_every_state(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type", dims="z0", neutral=["z2", 1])
    states = adata.uns[KEY]["states"]
    assert (states[["z1", "z2"]] == 0).all(axis=None)
    np.testing.assert_allclose(
        adata.varm[KEY].T, model.decode(states[["z0", "z1", "z2", "z3"]], library_size=1e4), rtol=1e-5, atol=1e-6
    )
    # without dims, all others are moved
    wi.tl.pseudo_profiles(adata, model, neutral="z2")
    assert adata.uns[KEY]["states"]["family"].unique().tolist() == ["z0", "z1", "z3"]


def test_average_of_decoded_cells(fitted: Fitted):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type", dims="z0", average="decoded", neutral="z3")
    z = model.get_latent_representation()
    z[:, 3] = 0
    cells = model.decode(z, library_size=1e4).to_numpy().astype(float)
    groups = adata.obs["cell_type"]
    for i, name in enumerate(groups.cat.categories):
        np.testing.assert_allclose(adata.varm[KEY][:, i], cells[groups == name].mean(axis=0), rtol=1e-4)
    # pure states are no averages
    pure = adata.uns[KEY]["states"].iloc[3:][["z0", "z1", "z2", "z3"]]
    np.testing.assert_allclose(adata.varm[KEY][:, 3:].T, model.decode(pure, library_size=1e4), rtol=1e-5)


@pytest.mark.parametrize("average", ["latent", "decoded"])
def test_contrast_agrees_with_the_profiles(fitted: Fitted, average: str):
    adata, model = fitted
    wi.tl.pseudo_profiles(
        adata, model, "cell_type", contrast=("type_1", "CD4+/CD25"), average=average, n_samples=60, seed=1
    )
    profiles, contrast = frame(adata), adata.uns[KEY]["contrast"]
    assert contrast.index.tolist() == adata.var_names.tolist()
    expected = np.log2((profiles["type_1"] + 1) / (profiles["CD4+/CD25"] + 1))
    width = contrast["upper"] - contrast["lower"]
    assert (np.abs(contrast["log2_fold_change"] - expected) < width).all()
    assert contrast["log2_fold_change"].between(contrast["lower"], contrast["upper"]).all()
    assert np.corrcoef(contrast["log2_fold_change"], expected)[0, 1] > 0.999
    assert contrast["sign_probability"].between(0.5, 1).all()
    sure = (contrast["lower"] > 0) | (contrast["upper"] < 0)
    assert (contrast.loc[sure, "sign_probability"] > 0.95).all()


def test_contrast_holds_the_truth_and_narrows_with_cells(fitted: Fitted):
    adata, model = fitted
    arguments = {"contrast": ("type_1", "type_2"), "n_samples": 1000}
    wi.tl.pseudo_profiles(adata, model, "cell_type", **arguments)
    all_cells = adata.uns[KEY]["contrast"]
    truth = true_profiles(adata)
    planted = np.log2((1e4 * truth["type_1"] + 1) / (1e4 * truth["type_2"] + 1))
    large = planted.abs() > 1
    assert large.sum() >= 5
    assert (all_cells.loc[large, "sign_probability"] == 1).all()
    assert (np.sign(all_cells.loc[large, "log2_fold_change"]) == np.sign(planted[large])).all()
    quarter = adata[::4].copy()
    wi.tl.pseudo_profiles(quarter, model, "cell_type", **arguments)
    widths = [(each["upper"] - each["lower"]).median() for each in (quarter.uns[KEY]["contrast"], all_cells)]
    assert 1.5 < widths[0] / widths[1] < 2.7


def test_contrast_of_what_does_not_differ(fitted: Fitted):
    adata, model = fitted
    adata.obs["half"] = np.random.default_rng(5).permutation(np.arange(adata.n_obs) % 2).astype(str)
    wi.tl.pseudo_profiles(adata, model, "half", contrast=("0", "1"), n_samples=100)
    contrast = adata.uns[KEY]["contrast"]
    assert ((contrast["lower"] <= 0) & (contrast["upper"] >= 0)).mean() > 0.7
    wi.tl.pseudo_profiles(adata, model, "half", contrast=("1", "0"), n_samples=100)
    turned = adata.uns[KEY]["contrast"]
    np.testing.assert_allclose(turned["log2_fold_change"], -contrast["log2_fold_change"], atol=0.05)


def test_contrast_is_seeded(fitted: Fitted):
    adata, model = fitted

    def contrast(seed: int, **more: object) -> pd.DataFrame:
        arguments = {"contrast": ("type_1", "z0 = +1"), "dims": "z0", "values": [0.5, 1.0], "n_samples": 20}
        wi.tl.pseudo_profiles(adata, model, "cell_type", seed=seed, **{**arguments, **more})
        return adata.uns[KEY]["contrast"]

    pd.testing.assert_frame_equal(contrast(0), contrast(0))
    assert not contrast(0).equals(contrast(1))
    # a pure state's value is given, so two of them are told apart exactly
    pure = contrast(0, contrast=("z0 = +1", "z0 = +0.5"), batch="batch_0")
    group = contrast(0, batch="batch_0")
    assert (pure["upper"] - pure["lower"]).max() < 0.2 * (group["upper"] - group["lower"]).max()


def test_intervals_of_a_representation_vary_over_cells_only(fitted: Fitted):
    adata, model = fitted
    adata.obsm["X_wi"] = model.get_latent_representation()
    adata.obsm["same"] = np.tile(adata.obsm["X_wi"].mean(axis=0), (adata.n_obs, 1))
    arguments = {"contrast": ("type_1", "type_2"), "n_samples": 1000}
    own = wi.tl.pseudo_profiles(adata, model, "cell_type", copy=True, **arguments)
    given = wi.tl.pseudo_profiles(adata, model, "cell_type", use_rep="X_wi", copy=True, **arguments)
    flat = wi.tl.pseudo_profiles(adata, model, "cell_type", use_rep="same", copy=True, **arguments)
    widths = [(each["upper"] - each["lower"]).median() for each in (a.uns[KEY]["contrast"] for a in (own, given, flat))]
    assert widths[0] > widths[1] > 100 * widths[2]


def test_minified_data(trained: Fitted):
    adata, _ = trained
    adata = adata.copy()
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    arguments = {"groupby": "cell_type", "contrast": ("type_1", "type_2"), "n_samples": 100}
    full = wi.tl.pseudo_profiles(adata, model, copy=True, **arguments)
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = model.get_latent_representation(return_dist=True)
    model.minify_adata()
    wi.tl.pseudo_profiles(model.adata, model, **arguments)
    np.testing.assert_allclose(model.adata.varm[KEY], full.varm[KEY], rtol=1e-4)
    # the same posteriors, though their noise is not drawn in the same order
    widths = [
        (each["upper"] - each["lower"]).median() for each in (a.uns[KEY]["contrast"] for a in (full, model.adata))
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.2)


def test_survives_writing(fitted: Fitted, tmp_path: Path):
    adata, model = fitted
    wi.tl.pseudo_profiles(adata, model, "cell_type", dims="z0", contrast=("CD4+/CD25", "type_1"), n_samples=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(frame(back), frame(adata), check_names=False, check_index_type=False)
    written = adata.uns[KEY]["markers"]
    assert back.uns[KEY]["markers"].astype(written.dtypes).equals(written)
    assert back.uns[KEY]["states"]["extrapolated"].dtype == bool
    np.testing.assert_array_equal(back.uns[KEY]["contrast"], adata.uns[KEY]["contrast"])
    assert list(back.uns[KEY]["contrast"].index) == list(adata.var_names)
    assert list(back.uns[KEY]["params"]["contrast"]) == ["CD4+/CD25", "type_1"]
    assert back.uns[KEY]["params"]["model_hash"] == adata.uns[KEY]["params"]["model_hash"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"groupby": "celltype"}, KeyError, "Did you mean 'cell_type'"),
        ({"dims": "z9"}, KeyError, "'z0' to 'z3'"),
        ({"dims": -1}, KeyError, "'z0' to 'z3'"),
        ({"dims": "z0", "values": [1.0, 1.0]}, ValueError, "Give each value once"),
        ({"dims": "z0", "values": []}, ValueError, "at least one"),
        ({"dims": "z0", "values": [np.nan]}, ValueError, "finite"),
        ({"groupby": "cell_type", "values": [1.0]}, ValueError, "named in dims"),
        ({"reference": "median"}, ValueError, "'mean' or 'zero'"),
        ({"library_size": 0.0}, ValueError, "library_size=0.0"),
        ({"use_rep": "X_pca"}, KeyError, "X_pca"),
        ({"use_rep": "true_factors"}, ValueError, "has 3 dimensions, but the model has n_latent=4"),
        ({"batch": "batch_7"}, KeyError, "batch_7"),
        ({"neutral": "z9"}, KeyError, "neutral='z9'"),
        ({"dims": "z1", "neutral": [1]}, ValueError, "z1: a dimension cannot be both moved and neutral"),
        ({"average": "median"}, ValueError, "'latent' or 'decoded'"),
        ({"groupby": "cell_type", "contrast": ("type_1", "type_9")}, KeyError, r"\['type_9'\].*'type_1', 'type_2'"),
        ({"groupby": "cell_type", "contrast": ("type_1", "type_1")}, ValueError, "two different states"),
        ({"groupby": "cell_type", "contrast": "type_1"}, ValueError, "two different states"),
        ({"n_samples": 1}, ValueError, "n_samples=1"),
        ({"n_top": 0}, ValueError, "n_top=0"),
        ({"groupby": "lonely"}, ValueError, "single cell: 'one'"),
    ],
)
def test_bad_input(fitted: Fitted, arguments: dict, error: type, message: str):
    adata, model = fitted
    adata.obs["lonely"] = ["one", *["other"] * (adata.n_obs - 1)]
    with pytest.raises(error, match=message):
        wi.tl.pseudo_profiles(adata, model, **arguments)
    assert KEY not in adata.uns
    assert KEY not in adata.varm


@pytest.mark.parametrize("model_class", [scvi.model.SCVI, scvi.model.TOTALVI])
def test_models_of_scvi_tools(model_class: type):
    adata = wi.datasets.simulate_factors(80, 30, 3, n_cell_types=2, n_batches=2, seed=0)
    setup = {"batch_key": "batch"}
    if model_class is scvi.model.TOTALVI:
        adata.obsm["protein"] = np.random.default_rng(0).poisson(5.0, size=(80, 4)).astype(np.float32)
        setup["protein_expression_obsm_key"] = "protein"
    model_class.setup_anndata(adata, **setup)
    with seeded(0):
        model = model_class(adata, n_latent=3, n_hidden=8)
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    wi.tl.pseudo_profiles(adata, model, "cell_type", contrast=("type_0", "type_1"), n_samples=5, batch="batch_0")
    result = adata.uns["pseudo_profiles"]
    z = model.get_latent_representation().astype(float)
    centroids = np.stack([z[adata.obs["cell_type"] == name].mean(axis=0) for name in result["states"].index])
    expected = wi.tl.decode(model, centroids, library_size=1e4, batch="batch_0")
    np.testing.assert_allclose(adata.varm["pseudo_profiles"].T, expected, rtol=1e-4)
    assert (result["contrast"]["lower"] <= result["contrast"]["upper"]).all()


def test_other_models_and_other_features(fitted: Fitted):
    adata, model = fitted
    with pytest.raises(TypeError, match="not a model of the scvi-tools kind"):
        wi.tl.pseudo_profiles(adata, object())
    with pytest.raises(ValueError, match="lacks 5 of the 80 features"):
        wi.tl.pseudo_profiles(adata[:, 5:].copy(), model)
