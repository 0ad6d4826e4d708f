"""Tests of the knockout screen on models of scvi-tools, on data that are not in memory, and of what it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from scipy import sparse

import scwhatif as wi
from scwhatif.model import BetaLinearSCVI

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


def simulate(n_obs: int = 120, n_vars: int = 90) -> AnnData:
    return wi.datasets.simulate_factors(n_obs, n_vars, 3, n_cell_types=3, library_size=150, seed=0)


def fit(adata: AnnData) -> BetaLinearSCVI:
    BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = BetaLinearSCVI(adata, n_latent=4, n_hidden=16, seed=0)
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def fitted() -> tuple[AnnData, BetaLinearSCVI]:
    adata = simulate()
    return adata, fit(adata)


@pytest.fixture
def adata(fitted: tuple[AnnData, BetaLinearSCVI]) -> AnnData:
    return fitted[0].copy()


@pytest.fixture
def model(fitted: tuple[AnnData, BetaLinearSCVI]) -> BetaLinearSCVI:
    return fitted[1]


def run(adata: AnnData, model: Any, genes: Any = None, **kwargs: Any) -> pd.DataFrame:
    """The table, indexed by group and gene."""
    wi.tl.knockout(adata, model, genes, progress=False, **kwargs)
    table = adata.uns["knockout"]["by_group"]
    return table.astype({"group": str, "gene": str}).set_index(["group", "gene"])


def knock_out(adata: AnnData, gene: int) -> AnnData:
    """A copy with one gene at zero, the slow way."""
    changed = adata.copy()
    dense = changed.X.toarray()
    dense[:, gene] = 0
    changed.X = sparse.csr_matrix(dense)
    return changed


def scvi_style(name: str, adata: AnnData) -> Any:
    """A trained model of scvi-tools, and the representation that a screen is about."""
    rng = np.random.default_rng(0)
    setup: dict[str, Any] = {"batch_key": "batch"}
    options: dict[str, Any] = {"n_latent": 4, "n_hidden": 16}
    if name == "SCANVI":
        setup |= {"labels_key": "cell_type", "unlabeled_category": "unknown"}
    elif name == "TOTALVI":
        adata.obsm["protein"] = rng.poisson(5, (adata.n_obs, 6)).astype(np.float32)
        setup |= {"protein_expression_obsm_key": "protein"}
        options = {"n_latent": 4, "empirical_protein_background_prior": False}
    elif name == "two layers":
        options |= {"n_layers": 2, "encode_covariates": True, "deeply_inject_covariates": True}
    model_class = getattr(scvi.model, name, scvi.model.SCVI)
    model_class.setup_anndata(adata, **setup)
    model = model_class(adata, **options)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.mark.parametrize("library", ["original", "renorm"])
@pytest.mark.parametrize("name", ["SCVI", "SCANVI", "LinearSCVI", "TOTALVI", "two layers"])
def test_models_of_scvi_tools(name: str, library: str):
    adata = simulate(60, 40)
    model = scvi_style(name, adata)
    genes = [0, 7, 31]
    found = run(adata, model, list(adata.var_names[genes]), min_cells=1, n_null=0, library=library)
    assert adata.uns["knockout"]["params"]["plan"] == "row-update"
    mean, var = posterior(model, adata)
    x = adata.X.toarray()
    for gene in genes:
        changed = knock_out(adata, gene)
        if library == "renorm":
            scale = x.sum(axis=1) / np.delete(x, gene, axis=1).sum(axis=1)
            changed.X = sparse.csr_matrix(changed.X.multiply(scale[:, None]), dtype=np.float32)
        new_mean, new_var = posterior(model, changed)
        shift, expressed = new_mean - mean, x[:, gene] != 0
        np.testing.assert_allclose(adata.varm["knockout_shift"][gene], shift.mean(axis=0), atol=1e-5)
        ratio = new_var / var
        kl = 0.5 * (ratio - 1 - np.log(ratio) + shift**2 / var).sum(axis=1)
        row = found.loc[("all", adata.var_names[gene])]
        assert row["score"] == pytest.approx(np.sqrt((shift**2 / var).sum(axis=1))[expressed].mean(), abs=2e-5)
        assert row["kl"] == pytest.approx(kl[expressed].mean(), abs=2e-5)


def posterior(model: Any, adata: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance by the module's own inference: SCANVI's method gives none."""
    from scwhatif._compat import infer, registered_data

    data = registered_data(model, adata)
    dense = np.asarray(data.x.todense(), dtype=np.float32)
    return tuple(each.double().cpu().numpy() for each in infer(model.module, {"X": dense, **data.fields}))


def test_pairs_have_the_pattern_of_the_counts(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path):
    import anndata as ad

    zarr = pytest.importorskip("zarr", minversion="3")
    found = run(adata, model, pairs="layer", min_cells=1, n_null=0)
    layer = adata.layers["knockout_distance"]
    assert layer.dtype == np.float32
    np.testing.assert_array_equal(layer.indptr, adata.X.indptr)
    np.testing.assert_array_equal(layer.indices, adata.X.indices)
    mean = np.ravel(layer.sum(axis=0)) / np.maximum(found["n_cells"], 1)
    np.testing.assert_allclose(mean, found["score"].fillna(0), rtol=1e-5)
    genes = ["gene_50", "gene_3"]
    some = adata.copy()
    run(some, model, genes, pairs="layer", n_null=0)
    asked = np.isin(adata.var_names, genes)
    assert some.layers["knockout_distance"][:, ~asked].nnz == 0
    np.testing.assert_allclose(some.layers["knockout_distance"][:, asked].toarray(), layer[:, asked].toarray())
    # in the store: the genes asked for, in the order of the data
    run(some, model, genes, pairs="zarr", store=tmp_path / "s", n_null=0)
    stored = ad.io.read_elem(zarr.open_group(tmp_path / "s")["distance"])
    np.testing.assert_array_equal(stored.toarray(), some.layers["knockout_distance"][:, asked].toarray())
    adata.write_h5ad(tmp_path / "x.h5ad")
    assert (ad.read_h5ad(tmp_path / "x.h5ad").layers["knockout_distance"] != layer).nnz == 0


def test_a_store_is_of_one_model(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path):
    pytest.importorskip("zarr", minversion="3")
    wanted = run(adata.copy(), model)
    for _ in range(2):
        pd.testing.assert_frame_equal(run(adata, model, store=tmp_path / "s"), wanted)
    # what is made of the sums may change, what they are of may not
    assert run(adata, model, store=tmp_path / "s", n_null=30)["pval"].notna().any()
    with pytest.raises(ValueError, match="another screen, which differs in op "):
        run(adata, model, store=tmp_path / "s", op="x0.5")
    other = fit(adata.copy())
    with torch.no_grad():
        other.module.z_encoder.first.weight *= 1.1
    with pytest.raises(ValueError, match=r"differs in model_hash \(there .*, here .*\)"):
        run(adata, other, store=tmp_path / "s")


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_data_on_disk(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path, kind: str):
    import anndata as ad

    wanted = run(adata.copy(), model, groupby="cell_type")
    if kind == "h5ad":
        adata.write_h5ad(tmp_path / "x.h5ad")
        on_disk = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    else:
        zarr = pytest.importorskip("zarr", minversion="3")
        adata.write_zarr(tmp_path / "x.zarr")
        on_disk = adata.copy()
        on_disk.X = ad.io.sparse_dataset(zarr.open_group(tmp_path / "x.zarr", mode="r")["X"])
    assert not sparse.issparse(on_disk.X)
    pd.testing.assert_frame_equal(run(on_disk, model, groupby="cell_type"), wanted)


@pytest.mark.optional
def test_data_in_dask(adata: AnnData, model: BetaLinearSCVI):
    da = pytest.importorskip("dask.array")
    wanted = run(adata.copy(), model, pairs="layer")
    adata.X = da.from_array(adata.X.toarray(), chunks=(50, -1)).map_blocks(sparse.csr_matrix)
    pd.testing.assert_frame_equal(run(adata, model, pairs="layer"), wanted)
    assert hasattr(adata.X, "compute")


@pytest.mark.slow
def test_workers_do_not_matter(adata: AnnData, model: BetaLinearSCVI):
    pd.testing.assert_frame_equal(run(adata, model, n_jobs=2), run(adata.copy(), model))


@pytest.mark.slow
def test_a_dask_cluster_changes_nothing(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path):
    import joblib

    distributed = pytest.importorskip("distributed")
    expected = run(adata, model, n_null=20)
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        pd.testing.assert_frame_equal(run(adata.copy(), model, n_null=20), expected)
