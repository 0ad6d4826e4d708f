from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
import scvi
from scipy.stats import spearmanr

import scwhatif as wi
from scwhatif._compat import seeded

if TYPE_CHECKING:
    from pathlib import Path

KEY = "decoder_flow"


def fitted(model_class: Any = wi.model.BetaLinearSCVI, epochs: int = 30, **arguments: Any):
    adata = wi.datasets.simulate_factors(300, 60, 3, n_cell_types=3, seed=0)
    model_class.setup_anndata(adata)
    with seeded(0):
        model = model_class(adata, n_latent=3, n_hidden=32, **arguments)
        model.train(max_epochs=epochs, batch_size=64, accelerator="cpu", enable_progress_bar=False)
    return adata, model


@pytest.fixture(scope="module")
def trained():
    return fitted(seed=0)


@pytest.fixture
def adata(trained):
    return trained[0].copy()


@pytest.fixture
def model(trained):
    return trained[1]


def codes_of(adata, group: str | None = None) -> np.ndarray:
    path = adata.uns[KEY]["path"]
    path = path if group is None else path[path["group"] == group]
    return path[[f"z{j}" for j in range(3)]].to_numpy()


@pytest.mark.parametrize(("direction", "sign"), [("up", 1), ("down", -1)])
def test_closed_form_of_a_linear_decoder(adata, model, direction: str, sign: int):
    wi.tl.decoder_flow(adata, model, "gene_5", direction=direction, n_steps=3, step=0.2)
    z = codes_of(adata)
    loadings = model.get_loadings().to_numpy()
    for here, there in itertools.pairwise(z):
        share = wi.tl.decode(model, here).to_numpy()[0]
        gradient = loadings[5] - share @ loadings
        np.testing.assert_allclose(there - here, sign * 0.2 * gradient / np.linalg.norm(gradient), atol=1e-5)
    path = adata.uns[KEY]["path"]
    np.testing.assert_allclose(path["expression"], wi.tl.decode(model, z, library_size=1e4)["gene_5"], rtol=1e-4)
    assert (np.diff(path["expression"]) * sign > 0).all()


def test_without_normalisation_the_way_is_straight():
    adata = wi.datasets.simulate_factors(100, 30, 3, seed=0)
    adata.obs["size"] = 1.0
    wi.model.BetaLinearSCVI.setup_anndata(adata, size_factor_key="size")
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    model.train(max_epochs=20, seed=0, batch_size=32, accelerator="cpu", enable_progress_bar=False)
    wi.tl.decoder_flow(adata, model, "gene_2", n_steps=4, step=0.05, library_size=1.0)
    loading = model.get_loadings().to_numpy()[2]
    z = codes_of(adata)
    np.testing.assert_allclose(
        z - z[0], np.outer(0.05 * np.arange(len(z)), loading / np.linalg.norm(loading)), atol=1e-5
    )
    np.testing.assert_allclose(adata.uns[KEY]["path"]["slope"], np.linalg.norm(loading), rtol=1e-4)


def test_the_slope_is_that_of_the_decoder():
    adata, model = fitted(scvi.model.SCVI, epochs=10)
    wi.tl.decoder_flow(adata, model, "gene_5", n_steps=3, step=0.01)
    path = adata.uns[KEY]["path"]
    rise = np.diff(np.log(path["expression"])) / 0.01
    np.testing.assert_allclose(rise, (path["slope"].to_numpy()[1:] + path["slope"].to_numpy()[:-1]) / 2, rtol=0.05)


def test_every_group_starts_from_its_centroid(adata, model):
    wi.tl.decoder_flow(adata, model, "gene_5", groupby="cell_type", n_steps=4, n_top=6)
    table, genes = adata.uns[KEY]["by_group"], adata.uns[KEY]["genes"]
    assert table["group"].tolist() == ["type_0", "type_1", "type_2"]
    assert adata.varm[KEY].shape == (60, 3)
    z = model.get_latent_representation()
    for i, name in enumerate(table["group"]):
        cells = (adata.obs["cell_type"] == name).to_numpy()
        codes = codes_of(adata, name)
        assert table["n_cells"].iloc[i] == cells.sum()
        assert table["n_steps"].iloc[i] == len(codes) - 1
        np.testing.assert_allclose(codes[0], z[cells].mean(axis=0), atol=1e-5)
        before, after = wi.tl.decode(model, codes[[0, -1]], library_size=1e4).to_numpy()
        by = np.log2((after + 1) / (before + 1))
        np.testing.assert_allclose(adata.varm[KEY][:, i], by, atol=1e-3)
        listed = genes[genes["group"] == name]
        assert listed["gene"].iloc[0] == "gene_5"
        assert len(listed) == 7
        strongest = np.abs(by[adata.var_names != "gene_5"])
        np.testing.assert_allclose(np.abs(listed["log2_fold_change"][1:]), np.sort(strongest)[::-1][:6], atol=1e-3)
        alone = wi.tl.decoder_flow(adata[cells].copy(), model, "gene_5", n_steps=1, copy=True)
        np.testing.assert_allclose(codes_of(alone)[0], codes[0], atol=1e-5)


def test_the_way_ends_where_the_cells_end(adata, model):
    wi.tl.decoder_flow(adata, model, "gene_5", n_steps=200, step=0.1)
    (row,) = adata.uns[KEY]["by_group"].itertuples()
    assert row.stopped == "outside"
    assert 2 < row.n_steps < 200
    distance = adata.uns[KEY]["path"]["cloud_distance"]
    assert distance.max() <= max(1, distance.iloc[0])
    assert len(distance) == row.n_steps + 1
    wi.tl.decoder_flow(adata, model, "gene_5", n_steps=2)
    assert adata.uns[KEY]["by_group"]["stopped"].item() == "steps"


def test_a_centroid_between_clusters_is_replaced_by_a_cell(adata, model):
    rng = np.random.default_rng(0)
    z = rng.normal(scale=0.2, size=(300, 3)) + np.repeat([[3.0, 0, 0], [-3.0, 0, 0]], 150, axis=0)
    adata.obsm["far"] = z
    adata.obs["side"] = np.repeat(["right", "left"], 150)
    wi.tl.decoder_flow(adata, model, "gene_5", n_steps=1, use_rep="far", compare=False)
    assert adata.uns[KEY]["by_group"]["start"].item() == "cell"
    np.testing.assert_allclose(codes_of(adata)[0], z[np.linalg.norm(z - z.mean(axis=0), axis=1).argmin()])
    wi.tl.decoder_flow(adata, model, "gene_5", n_steps=1, use_rep="far", compare=False, groupby="side")
    assert (adata.uns[KEY]["by_group"]["start"] == "centroid").all()
    np.testing.assert_allclose(codes_of(adata, "left")[0], z[150:].mean(axis=0))


def test_a_flat_decoder_leads_nowhere(adata):
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    model.is_trained_ = True
    model.module.decoder.weight.data.zero_()
    wi.tl.decoder_flow(adata, model, "gene_5")
    assert adata.uns[KEY]["by_group"]["stopped"].item() == "flat"
    assert not adata.varm[KEY].any()
    assert np.isnan(adata.uns[KEY]["by_group"]["agreement"].item())


def test_agreement_with_the_knockout(adata, model):
    wi.tl.decoder_flow(adata, model, "gene_5", direction="down", n_steps=5)
    wi.tl.perturb(adata, model, "gene_5:ko", progress=False)
    table = adata.uns[KEY]["by_group"]
    assert table["n_knocked_out"].item() == (adata.obs["perturb_norm"] > 0).sum()
    shift = adata.obsm["perturb_shift"].mean(axis=0)
    codes = codes_of(adata)
    way = codes[-1] - codes[0]
    cosine = way @ shift / np.linalg.norm(way) / np.linalg.norm(shift)
    assert table["knockout_cosine"].item() == pytest.approx(cosine, abs=1e-4)
    before, after = wi.tl.decode(model, np.stack([codes[0], codes[0] + shift]), library_size=1e4).to_numpy()
    lost = np.log2((after + 1) / (before + 1))
    others = adata.var_names != "gene_5"
    agreement = spearmanr(adata.varm[KEY][others, 0], lost[others]).statistic
    assert table["agreement"].item() == pytest.approx(agreement, abs=0.01)
    assert table["disagrees"].item() == (agreement <= 0)
    # upwards is the same comparison, turned round
    wi.tl.decoder_flow(adata, model, "gene_5", direction="up", n_steps=1, step=1e-3)
    up = adata.uns[KEY]["by_group"]
    wi.tl.decoder_flow(adata, model, "gene_5", direction="down", n_steps=1, step=1e-3)
    down = adata.uns[KEY]["by_group"]
    assert up["knockout_cosine"].item() == pytest.approx(down["knockout_cosine"].item(), abs=1e-3)


def test_encoder_and_decoder_agree_on_markers(adata, model):
    found = []
    for gene in adata.var_names[np.argsort(-adata.varm["true_loadings"].max(axis=1))[:5]]:
        wi.tl.decoder_flow(adata, model, gene, n_steps=5)
        found.append(adata.uns[KEY]["by_group"]["agreement"].item())
    assert np.median(found) > 0.3


def test_genes_that_nothing_expresses(adata, model):
    silent = adata.copy()
    silent.X = silent.X.copy()
    silent.X[:, 7] = 0
    wi.tl.decoder_flow(silent, model, "gene_7", n_steps=2)
    table = silent.uns[KEY]["by_group"]
    assert table["n_knocked_out"].item() == 0
    assert table[["knockout_cosine", "agreement"]].isna().all(axis=None)
    assert not table["disagrees"].item()
    wi.tl.decoder_flow(silent, model, "gene_7", n_steps=2, compare=False)
    assert "agreement" not in silent.uns[KEY]["by_group"]


def test_continuous_features_move_by_differences():
    adata = wi.datasets.simulate_factors(80, 20, 2, n_cell_types=2, likelihood="normal")
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood="normal", seed=0)
    model.train(max_epochs=5, seed=0, accelerator="cpu", enable_progress_bar=False)
    wi.tl.decoder_flow(adata, model, "gene_1", n_steps=2, step=0.01)
    table = adata.uns[KEY]["by_group"]
    loading = model.get_loadings().to_numpy()[1]
    assert table["difference"].item() == pytest.approx(0.02 * np.linalg.norm(loading), rel=1e-2)
    assert "agreement" not in table


def test_survives_writing(adata, model, tmp_path: Path):
    wi.tl.decoder_flow(adata, model, "gene_5", groupby="cell_type", n_steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("path", "genes", "by_group"):
        there = adata.uns[KEY][name]
        assert back.uns[KEY][name].astype(there.dtypes).equals(there)
    np.testing.assert_array_equal(back.varm[KEY], adata.varm[KEY])
    assert back.uns[KEY]["params"]["gene"] == "gene_5"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gene": "gene_99"}, KeyError, "gene_9"),
        ({"direction": "sideways"}, ValueError, "'up' or 'down'"),
        ({"n_steps": 0}, ValueError, "n_steps=0"),
        ({"step": -0.1}, ValueError, "step=-0.1"),
        ({"n_top": 0}, ValueError, "n_top=0"),
        ({"groupby": "typ"}, KeyError, "cell_type"),
        ({"batch": "b"}, KeyError, "without batch_key"),
        ({"library_size": 0}, ValueError, "library_size=0"),
        ({"use_rep": "X_pca"}, KeyError, "X_pca"),
    ],
)
def test_bad_input(adata, model, arguments: dict[str, Any], error: type, message: str):
    with pytest.raises(error, match=message):
        wi.tl.decoder_flow(adata, model, **{"gene": "gene_5", **arguments})
    assert KEY not in adata.uns
