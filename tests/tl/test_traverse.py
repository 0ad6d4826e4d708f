from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
import scvi

import scwhatif as wi
from scwhatif._compat import seeded

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    Fitted = tuple[AnnData, wi.model.BetaLinearSCVI]

KEY = "traverse"


@pytest.fixture(scope="module")
def trained() -> Fitted:
    adata = wi.datasets.simulate_factors(300, 60, 3, n_cell_types=3, n_batches=2, batch_effect=0.3, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = wi.model.BetaLinearSCVI(adata, n_latent=4, seed=0)
    model.train(max_epochs=60, seed=0, accelerator="cpu", enable_progress_bar=False)
    return adata, model


@pytest.fixture
def fitted(trained: Fitted) -> Fitted:
    adata, model = trained
    return adata.copy(), model


def test_steps_stay_within_what_was_observed(fitted: Fitted):
    adata, model = fitted
    wi.tl.traverse(adata, model, "z1", n_steps=7)
    z = model.get_latent_representation()[:, 1].astype(float)
    steps = adata.uns[KEY]["steps"]
    np.testing.assert_allclose(steps["value"].iloc[[0, -1]], np.quantile(z, [0.005, 0.995]), rtol=1e-6)
    np.testing.assert_allclose(np.diff(steps["value"]), np.ptp(steps["value"]) / 6)
    assert steps["value"].between(z.min(), z.max()).all()
    distance = np.abs(z[:, None] - steps["value"].to_numpy())
    assert steps["n_cells"].tolist() == np.bincount(distance.argmin(axis=1), minlength=7).tolist()
    np.testing.assert_allclose(steps["quantile"], [(z <= value).mean() for value in steps["value"]])
    wi.tl.traverse(adata, model, "z1", quantiles=(0, 1))
    np.testing.assert_allclose(adata.uns[KEY]["steps"]["value"].iloc[[0, -1]], [z.min(), z.max()])


def test_profiles_equal_decode_with_the_others_at_the_reference(fitted: Fitted):
    adata, model = fitted
    wi.tl.traverse(adata, model, 2, n_steps=4, neutral="z0", batch="batch_1", library_size=500.0)
    codes = np.tile(model.get_latent_representation().astype(float).mean(axis=0), (4, 1))
    codes[:, 0] = 0.0
    codes[:, 2] = adata.uns[KEY]["steps"]["value"]
    np.testing.assert_allclose(adata.varm[KEY].T, model.decode(codes, library_size=500.0, batch="batch_1"), rtol=1e-5)
    wi.tl.traverse(adata, model, 2, n_steps=4, reference="zero")
    codes[:, [1, 3]] = 0.0
    np.testing.assert_allclose(adata.varm[KEY].T, model.decode(codes, library_size=1e4), rtol=1e-5)


def test_name_and_number_are_the_same(fitted: Fitted):
    adata, model = fitted
    a, b = (wi.tl.traverse(adata, model, dim, copy=True) for dim in ("z3", 3))
    assert KEY not in adata.uns
    np.testing.assert_array_equal(a.varm[KEY], b.varm[KEY])
    assert b.uns[KEY]["params"]["dim"] == "z3"


@pytest.mark.parametrize("dim", range(4))
def test_log_rates_are_exactly_linear(fitted: Fitted, dim: int):
    """Up to the constant that normalises over genes."""
    adata, model = fitted
    wi.tl.traverse(adata, model, dim, batch="batch_0", library_size=1.0)
    log_rate = np.log(adata.varm[KEY].astype(np.float64))
    ways = np.diff(log_rate, axis=1)
    slope = model.get_loadings()[f"z{dim}"].to_numpy()
    width = np.diff(adata.uns[KEY]["steps"]["value"])
    np.testing.assert_allclose(ways - ways.mean(axis=0), np.outer(slope, width), rtol=0, atol=1e-5)


def test_top_features_are_those_that_move_most(fitted: Fitted):
    adata, model = fitted
    wi.tl.traverse(adata, model, "z0", n_top=10)
    profiles, top = adata.varm[KEY].astype(float), adata.uns[KEY]["top"]
    log = np.log2(profiles + 1)
    span = np.ptp(log, axis=1)
    order = np.argsort(-span)[:10]
    assert top["gene"].tolist() == adata.var_names[order].tolist()
    np.testing.assert_allclose(top["span"], span[order], rtol=1e-5)
    np.testing.assert_allclose(top["log2_fold_change"], (log[:, -1] - log[:, 0])[order], rtol=1e-5)
    np.testing.assert_allclose(top[["first", "last"]], profiles[order][:, [0, -1]], rtol=1e-6)
    ways = np.sign(np.diff(profiles, axis=1))
    monotone = np.abs(ways.sum(axis=1)) == ways.shape[1]
    assert top["monotone"].tolist() == monotone[order].tolist()
    assert adata.uns[KEY]["monotone_fraction"] == pytest.approx(monotone.mean(), abs=0.04)
    assert 0 < adata.uns[KEY]["monotone_fraction"] < 1


def test_continuous_features_are_all_monotone():
    adata = wi.datasets.simulate_factors(120, 20, 2, n_cell_types=2, likelihood="normal")
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood="normal", seed=0)
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    wi.tl.traverse(adata, model, 0)
    assert adata.uns[KEY]["monotone_fraction"] == 1.0
    top = adata.uns[KEY]["top"]
    np.testing.assert_allclose(top["difference"], top["last"] - top["first"], rtol=1e-6)
    np.testing.assert_allclose(top["difference"].abs(), top["span"], rtol=1e-6)
    assert "pseudo_count" not in adata.uns[KEY]["params"]


def test_representation_in_obsm(fitted: Fitted):
    adata, model = fitted
    adata.obsm["X_wi"] = model.get_latent_representation()
    own, given = (wi.tl.traverse(adata, model, 0, use_rep=rep, copy=True) for rep in (None, "X_wi"))
    np.testing.assert_array_equal(own.varm[KEY], given.varm[KEY])


def test_minified_data(trained: Fitted):
    adata, model = trained
    full = wi.tl.traverse(adata, model, 0, copy=True)
    # a model of its own, because minifying one changes it for good
    small = adata.copy()
    wi.model.BetaLinearSCVI.setup_anndata(small, batch_key="batch")
    twin = wi.model.BetaLinearSCVI(small, n_latent=4, seed=0)
    twin.module.load_state_dict(model.module.state_dict())
    twin.is_trained_ = True
    twin.module.eval()
    mean, var = twin.get_latent_representation(return_dist=True)
    small.obsm["X_latent_qzm"], small.obsm["X_latent_qzv"] = mean, var
    twin.minify_adata()
    wi.tl.traverse(twin.adata, twin, 0)
    np.testing.assert_allclose(twin.adata.varm[KEY], full.varm[KEY], rtol=1e-4)


def test_survives_writing(fitted: Fitted, tmp_path: Path):
    adata, model = fitted
    wi.tl.traverse(adata, model, "z0", neutral=["z1"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        adata.write_h5ad(tmp_path / "x.h5ad")
    back, there = ad.read_h5ad(tmp_path / "x.h5ad").uns[KEY], adata.uns[KEY]
    for name in ("steps", "top"):
        assert back[name].astype(there[name].dtypes).equals(there[name])
    assert back["monotone_fraction"] == there["monotone_fraction"]
    assert list(back["params"]["neutral"]) == ["z1"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dim": "z4"}, KeyError, "dim='z4' is not a dimension of the model; it has 'z0' to 'z3'"),
        ({"dim": 4}, KeyError, "dim=4"),
        ({"dim": -1}, KeyError, "dim=-1"),
        ({"quantiles": (-0.1, 0.9)}, ValueError, r"observed range only.*tl\.pseudo_profiles"),
        ({"quantiles": (0.5, 1.5)}, ValueError, "observed range only"),
        ({"quantiles": (0.9, 0.1)}, ValueError, "the lower first"),
        ({"quantiles": (0.1, np.nan)}, ValueError, "from 0 to 1"),
        ({"n_steps": 1}, ValueError, "n_steps=1"),
        ({"n_top": 0}, ValueError, "n_top=0"),
        ({"neutral": "z0"}, ValueError, "both moved and neutral"),
        ({"neutral": "z8"}, KeyError, "neutral='z8'"),
        ({"reference": "median"}, ValueError, "'mean' or 'zero'"),
        ({"library_size": np.inf}, ValueError, "library_size=inf"),
        ({"use_rep": "X_pca"}, KeyError, "X_pca"),
        ({"use_rep": "flat"}, ValueError, "z0 is 0 at both ends"),
        ({"batch": "batch_7"}, KeyError, "batch_7"),
    ],
)
def test_bad_input(fitted: Fitted, arguments: dict, error: type, message: str):
    adata, model = fitted
    adata.obsm["flat"] = np.zeros((adata.n_obs, 4))
    with pytest.raises(error, match=message):
        wi.tl.traverse(adata, model, **{"dim": "z0", **arguments})
    assert KEY not in adata.uns
    assert KEY not in adata.varm


@pytest.mark.parametrize("model_class", [scvi.model.SCVI, scvi.model.TOTALVI])
def test_models_of_scvi_tools(model_class: type):
    adata = wi.datasets.simulate_factors(80, 30, 3, n_batches=2, seed=0)
    setup = {"batch_key": "batch"}
    if model_class is scvi.model.TOTALVI:
        adata.obsm["protein"] = np.random.default_rng(0).poisson(5.0, size=(80, 4)).astype(np.float32)
        setup["protein_expression_obsm_key"] = "protein"
    model_class.setup_anndata(adata, **setup)
    with seeded(0):
        model = model_class(adata, n_latent=3, n_hidden=8)
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    wi.tl.traverse(adata, model, "z1", n_steps=4, batch="batch_1", library_size=500.0)
    codes = np.tile(model.get_latent_representation().astype(float).mean(axis=0), (4, 1))
    codes[:, 1] = adata.uns[KEY]["steps"]["value"]
    expected = wi.tl.decode(model, codes, library_size=500.0, batch="batch_1")
    np.testing.assert_allclose(adata.varm[KEY].T, expected, rtol=1e-5)
    np.testing.assert_allclose(adata.varm[KEY].sum(axis=0), 500.0, rtol=1e-5)
    assert adata.uns[KEY]["params"]["model_class"] == model_class.__name__


def test_along_an_axis(fitted: Fitted):
    adata, model = fitted
    adata.obsm["X_wi"] = model.get_latent_representation()
    wi.tl.axis(adata, "cell_type", ("type_0", "type_1"))
    wi.tl.traverse(adata, model, "type_0_to_type_1", n_steps=5, batch="batch_0")
    found, steps = adata.uns["axis"]["type_0_to_type_1"], adata.uns[KEY]["steps"]
    position = adata.obs["axis_type_0_to_type_1"]
    np.testing.assert_allclose(steps["value"].iloc[[0, -1]], np.quantile(position, [0.005, 0.995]), atol=1e-5)
    np.testing.assert_allclose(steps["quantile"], [(position <= value).mean() for value in steps["value"]], atol=0.01)
    origin = adata.obsm["X_wi"].astype(float).mean(axis=0)
    at = (origin - found["origin"]) @ found["unit"] / found["length"]
    codes = origin + np.outer(steps["value"] - at, found["vector"])
    np.testing.assert_allclose(adata.varm[KEY].T, model.decode(codes, library_size=1e4, batch="batch_0"), rtol=1e-3)
    assert adata.uns[KEY]["params"]["dim"] == "type_0_to_type_1"
    wi.tl.traverse(adata, model, "type_0_to_type_1", neutral="z1", batch="batch_0")
    assert adata.uns[KEY]["params"]["neutral"] == ["z1"]
    adata.obsm["X_wi"] = adata.obsm["X_wi"] * 2
    with pytest.raises(ValueError, match="is not this model's latent code"):
        wi.tl.traverse(adata, model, "type_0_to_type_1")


def test_shares_cannot_be_moved_one_by_one():
    adata = wi.datasets.simulate_factors(60, 30, 3, seed=0)
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=3, n_hidden=8, latent_distribution="ln")
    with pytest.raises(ValueError, match=r"latent_distribution='ln'.*shares"):
        wi.tl.traverse(adata, model, 0)


def test_other_models_and_other_features(fitted: Fitted):
    adata, model = fitted
    with pytest.raises(TypeError, match="not a model of the scvi-tools kind"):
        wi.tl.traverse(adata, object(), 0)
    with pytest.raises(ValueError, match="lacks 5 of the 60 features"):
        wi.tl.traverse(adata[:, 5:].copy(), model, 0)
