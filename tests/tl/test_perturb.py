from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
import scvi
from scipy import sparse

import scwhatif as wi
from scwhatif._compat import seeded

if TYPE_CHECKING:
    from pathlib import Path

KEY = "perturb"
QUIET = {"progress": False}


def fitted(model_class: Any = wi.model.BetaLinearSCVI, **arguments: Any):
    adata = wi.datasets.simulate_factors(200, 40, 3, n_cell_types=3, n_batches=2, seed=0)
    setup = {"batch_key": "batch"}
    if model_class is scvi.model.TOTALVI:
        adata.obsm["protein"] = np.random.default_rng(0).poisson(5.0, size=(200, 4)).astype(np.float32)
        setup["protein_expression_obsm_key"] = "protein"
    if model_class is scvi.model.SCANVI:
        setup |= {"labels_key": "cell_type", "unlabeled_category": "type_0"}
    model_class.setup_anndata(adata, **setup)
    with seeded(0):
        model = model_class(adata, n_latent=3, n_hidden=16, **arguments)
        model.train(max_epochs=5, accelerator="cpu", enable_progress_bar=False)
    return adata, model


@pytest.fixture(scope="module")
def trained():
    adata, model = fitted(seed=0)
    model.rotate("varimax")
    return adata, model


@pytest.fixture
def adata(trained):
    return trained[0].copy()


@pytest.fixture
def model(trained):
    return trained[1]


def edited_copy(adata, text: str):
    other = adata.copy()
    raw = other.X.toarray() if sparse.issparse(other.X) else np.asarray(other.X)
    other.X = wi.Perturbation.parse(text).apply_features(raw, adata.var_names)
    return other


@pytest.mark.parametrize("model_class", [scvi.model.SCVI, scvi.model.SCANVI, scvi.model.LinearSCVI, scvi.model.TOTALVI])
def test_models_of_scvi_tools(model_class: Any):
    adata, model = fitted(model_class)
    text = "{gene_0,gene_3}:ko + gene_5:x3"
    wi.tl.perturb(adata, model, f"{text} + z1:+0.5", layer_added="after", **QUIET)
    other = edited_copy(adata, text)
    z = model.get_latent_representation(other)
    added = np.array([0, 0.5, 0], dtype=np.float32)
    expected = z + added - model.get_latent_representation(adata)
    np.testing.assert_allclose(adata.obsm[f"{KEY}_shift"], expected, atol=1e-5)
    library = np.asarray(adata.X.sum(axis=1)).ravel()
    for batch in ("batch_0", "batch_1"):
        cells = (adata.obs["batch"] == batch).to_numpy()
        decoded = wi.tl.decode(model, (z + added)[cells], library_size=library[cells], batch=batch)
        np.testing.assert_allclose(adata.layers["after"][cells], decoded, rtol=1e-3)


def test_a_rotated_model_is_read_in_its_axes(adata, model):
    wi.tl.perturb(adata, model, "gene_3:ko", **QUIET)
    other = edited_copy(adata, "gene_3:ko")
    difference = model.get_latent_representation(other) - model.get_latent_representation(adata)
    np.testing.assert_allclose(adata.obsm[f"{KEY}_shift"], difference, atol=1e-5)
    np.testing.assert_allclose(adata.obs[f"{KEY}_norm"], np.linalg.norm(difference, axis=1), atol=1e-5)
    silent = adata.to_df()["gene_3"] == 0
    for name in ("norm", "distance", "kl"):
        assert not adata.obs[f"{KEY}_{name}"][silent].any()
        assert (adata.obs[f"{KEY}_{name}"][~silent] > 0).all()


def test_distances_do_not_depend_on_the_axes(trained):
    adata, model = trained[0].copy(), trained[1]
    turned = wi.tl.perturb(adata, model, "gene_3:ko", copy=True, **QUIET)
    try:
        model.rotate(None)
        plain = wi.tl.perturb(adata, model, "gene_3:ko", copy=True, **QUIET)
    finally:
        model.rotate("varimax")
    for name in ("norm", "distance", "kl"):
        np.testing.assert_allclose(turned.obs[f"{KEY}_{name}"], plain.obs[f"{KEY}_{name}"], rtol=1e-3, atol=1e-6)


def test_agrees_with_the_knockout_screen(adata, model):
    wi.tl.perturb(adata, model, "gene_3:ko", **QUIET)
    wi.tl.knockout(adata, model, "gene_3", n_null=0, min_cells=1, progress=False)
    changed = adata.obs[f"{KEY}_norm"] > 0
    gene = adata.var_names.get_loc("gene_3")
    assert adata.var["knockout_score"].iloc[gene] == pytest.approx(adata.obs[f"{KEY}_distance"][changed].mean(), 1e-4)
    np.testing.assert_allclose(
        adata.varm["knockout_shift"][gene], adata.obsm[f"{KEY}_shift"].mean(axis=0, dtype=float), atol=1e-6
    )


def test_latent_edits_alone_move_every_cell_alike(adata, model):
    wi.tl.perturb(adata, model, "z1:+2", groupby="cell_type", **QUIET)
    np.testing.assert_allclose(adata.obsm[f"{KEY}_shift"], np.tile([0, 2, 0], (200, 1)), atol=1e-6)
    np.testing.assert_allclose(adata.obs[f"{KEY}_kl"], adata.obs[f"{KEY}_distance"] ** 2 / 2)
    table = adata.uns[KEY]["by_group"]
    np.testing.assert_allclose(table["shift_norm"], 2)
    assert (table["n_changed"] == table["n_cells"]).all()
    assert not adata.uns[KEY]["genes"]["edited"].any()
    assert "plan" not in adata.uns[KEY]["params"]


def test_a_move_far_out_is_out_of_distribution(adata, model):
    wi.tl.perturb(adata, model, "z0:+30", decode=False, **QUIET)
    assert adata.obs[f"{KEY}_outlier"].all()
    table = adata.uns[KEY]["by_group"]
    assert table["outlier_share"].item() == 1
    assert table["outlier_share_before"].item() <= 0.02
    assert "genes" not in adata.uns[KEY]


def test_tables_sum_up_what_cells_say(adata, model):
    wi.tl.perturb(adata, model, "{gene_0,gene_3}:ko", groupby="cell_type", layer_added="after", n_top=5, **QUIET)
    by_group, genes = adata.uns[KEY]["by_group"], adata.uns[KEY]["genes"]
    assert by_group["group"].tolist() == ["all", "type_0", "type_1", "type_2"]
    one = adata[adata.obs["cell_type"] == "type_1"]
    changed = one.obs[f"{KEY}_norm"] > 0
    row = by_group.iloc[2]
    assert (row["n_cells"], row["n_changed"]) == (one.n_obs, changed.sum())
    for name in ("distance", "kl"):
        assert row[name] == pytest.approx(one.obs[f"{KEY}_{name}"][changed].mean())
    assert row["shift_norm"] == pytest.approx(np.linalg.norm(one.obsm[f"{KEY}_shift"].mean(axis=0)), rel=1e-4)
    listed = genes[genes["group"] == "type_1"]
    assert listed["edited"].tolist() == [False] * 5 + [True] * 2
    assert set(listed["gene"][5:]) == {"gene_0", "gene_3"}
    after = one[:, listed["gene"].tolist()].layers["after"].mean(axis=0)
    np.testing.assert_allclose(listed["after"], after, rtol=1e-4)
    pseudo_count = adata.uns[KEY]["params"]["pseudo_count"]
    ratio = np.log2((listed["after"] + pseudo_count) / (listed["before"] + pseudo_count))
    np.testing.assert_allclose(listed["log2_fold_change"], ratio)
    assert (np.diff(np.abs(ratio[:5])) <= 0).all()


def test_the_library_that_is_decoded_with(adata, model):
    text = "{gene_0,gene_1,gene_2,gene_3}:ko"
    totals = {}
    for library in ("original", "perturbed", "renorm"):
        found = wi.tl.perturb(adata, model, text, library=library, layer_added="after", copy=True, **QUIET)
        totals[library] = found.layers["after"].sum(axis=1)
    raw = np.asarray(adata.X.sum(axis=1)).ravel()
    np.testing.assert_allclose(totals["original"], raw, rtol=1e-4)
    np.testing.assert_allclose(totals["renorm"], raw, rtol=1e-4)
    np.testing.assert_allclose(
        totals["perturbed"], np.asarray(edited_copy(adata, text).X.sum(axis=1)).ravel(), rtol=1e-4
    )


def test_sets_dicts_and_seeds(adata, model):
    named = wi.tl.perturb(adata, model, "down:x0.5", sets={"down": ["gene_1", "gene_2"]}, copy=True, **QUIET)
    built = wi.tl.perturb(adata, model, wi.Perturbation.scale(["gene_1", "gene_2"], 0.5), copy=True, **QUIET)
    np.testing.assert_array_equal(named.obsm[f"{KEY}_shift"], built.obsm[f"{KEY}_shift"])
    assert named.uns[KEY]["params"]["perturbation"] == "down{gene_1,gene_2}:x0.5"
    first, again, other = (
        wi.tl.perturb(adata, model, {"gene_1": "thin0.5"}, seed=seed, copy=True, **QUIET).obsm[f"{KEY}_shift"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_continuous_features():
    adata = wi.datasets.simulate_factors(80, 20, 2, n_cell_types=2, likelihood="normal")
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood="normal", seed=0)
    model.train(max_epochs=5, seed=0, accelerator="cpu", enable_progress_bar=False)
    wi.tl.perturb(adata, model, "gene_1:-2", **QUIET)
    genes = adata.uns[KEY]["genes"]
    np.testing.assert_allclose(genes["difference"], genes["after"] - genes["before"])
    # decoding is linear, so the mean of what is decoded moves along the loadings
    expected = model.get_loadings().to_numpy() @ adata.obsm[f"{KEY}_shift"].mean(axis=0)
    np.testing.assert_allclose(genes["difference"], expected[adata.var_names.get_indexer(genes["gene"])], atol=1e-5)


def test_nothing_but_what_is_told_is_written(adata, model):
    before = adata.copy()
    assert wi.tl.perturb(adata, model, "gene_3:ko", copy=True, **QUIET).uns[KEY]
    assert KEY not in adata.uns
    wi.tl.perturb(adata, model, "gene_3:ko", key_added="x", **QUIET)
    assert set(adata.obs) - set(before.obs) == {"x_norm", "x_distance", "x_kl", "x_outlier"}
    assert set(adata.obsm) - set(before.obsm) == {"x_shift"}
    assert set(adata.uns) - set(before.uns) == {"x"}
    assert not adata.layers.keys() - before.layers.keys()
    assert adata.obsm["x_shift"].dtype == np.float32


def test_survives_writing(adata, model, tmp_path: Path):
    wi.tl.perturb(adata, model, "gene_3:ko + z0:-1", groupby="cell_type", layer_added="after", **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("genes", "by_group"):
        there = adata.uns[KEY][name]
        assert back.uns[KEY][name].astype(there.dtypes).equals(there)
    np.testing.assert_array_equal(back.obsm[f"{KEY}_shift"], adata.obsm[f"{KEY}_shift"])
    assert back.uns[KEY]["params"]["perturbation"] == "gene_3:ko + z0:-1"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"perturbation": ""}, ValueError, "empty"),
        ({"perturbation": "gene_3:x1"}, ValueError, "gene_3:x1 changes no cell"),
        ({"perturbation": "z1:+0"}, ValueError, "moves no cell"),
        ({"perturbation": "gene_99:ko"}, KeyError, "gene_9"),
        ({"perturbation": "z3:+1"}, ValueError, "out of range: z3"),
        ({"perturbation": "phospho:hide"}, ValueError, "edit of a modality"),
        ({"perturbation": "cell_line:swap(A)"}, ValueError, "edit of a context"),
        ({"perturbation": 3}, TypeError, "expected a Perturbation"),
        ({"library": "keep"}, ValueError, "library='keep'"),
        ({"n_top": 0}, ValueError, "n_top=0"),
        ({"layer_added": "x", "decode": False}, ValueError, "needs decode=True"),
        ({"groupby": "typ"}, KeyError, "cell_type"),
    ],
)
def test_bad_input(adata, model, arguments: dict[str, Any], error: type, message: str):
    before = set(adata.uns), set(adata.obs), set(adata.obsm)
    with pytest.raises(error, match=message):
        wi.tl.perturb(adata, model, **{"perturbation": "gene_3:ko", **arguments}, **QUIET)
    assert (set(adata.uns), set(adata.obs), set(adata.obsm)) == before


def test_models_that_cannot(adata, model):
    with pytest.raises(TypeError, match="not a model of the scvi-tools kind"):
        wi.tl.perturb(adata, object(), "gene_3:ko")
    with pytest.raises(ValueError, match="lacks 5 of the 40 features"):
        wi.tl.perturb(adata[:, 5:].copy(), model, "gene_7:ko")
    fresh = adata.copy()
    wi.model.BetaLinearSCVI.setup_anndata(fresh)
    with pytest.raises(ValueError, match="has not been trained"):
        wi.tl.perturb(fresh, wi.model.BetaLinearSCVI(fresh, n_latent=3), "gene_3:ko")


def test_minified_data_keep_codes_only(trained):
    adata = trained[0].copy()
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    twin = wi.model.BetaLinearSCVI(adata, n_latent=3, n_hidden=16, seed=0)
    twin.module.load_state_dict(trained[1].module.state_dict())
    twin.is_trained_ = True
    whole = wi.tl.perturb(adata, twin, "z1:+1", copy=True, **QUIET)
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = twin.get_latent_representation(return_dist=True)
    twin.minify_adata()
    wi.tl.perturb(twin.adata, twin, "z1:+1", **QUIET)
    columns = ["before", "after"]
    np.testing.assert_allclose(twin.adata.uns[KEY]["genes"][columns], whole.uns[KEY]["genes"][columns], rtol=1e-3)
    with pytest.raises(ValueError, match=r"minified.*adata_with_counts"):
        wi.tl.perturb(twin.adata, twin, "gene_3:ko", **QUIET)


@pytest.mark.optional
def test_drvi():
    drvi = pytest.importorskip("drvi")
    adata = wi.datasets.simulate_factors(100, 30, 3, seed=0)
    drvi.model.DRVI.setup_anndata(adata, is_count_data=True)
    model = drvi.model.DRVI(adata, n_latent=4)
    model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    wi.tl.perturb(adata, model, "gene_3:ko + z1:+0.5", **QUIET)
    z = [model.get_latent_representation(each) for each in (adata, edited_copy(adata, "gene_3:ko"))]
    added = np.array([0, 0.5, 0, 0], dtype=np.float32)
    np.testing.assert_allclose(adata.obsm[f"{KEY}_shift"], z[1] + added - z[0], atol=1e-5)
    wi.tl.decoder_flow(adata, model, "gene_3", n_steps=2)
    wi.tl.gene_effects(adata, model, ["gene_3"], **QUIET)
    assert np.isfinite(adata.varm["gene_effects"]).all()
