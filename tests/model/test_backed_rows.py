"""Cells on disk are read in the order asked for, and train the model that cells in memory train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scwhatif as wi
from scwhatif.model import BetaLinearSCVI
from scwhatif.model._backed_rows import BackedRows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

KINDS = ["h5_csr", "h5_dense", "zarr_csr", "zarr_dense", "dask_csr", "dask_dense"]
UNSORTED = [150, 3, 77, 3, 149, 0]


def simulated() -> AnnData:
    return wi.datasets.simulate_factors(160, 30, 3, n_batches=2, library_size=300, seed=0)


def on_disk(adata: AnnData, kind: str, folder: Path) -> AnnData:
    """The same cells with a matrix that is not in memory."""
    where, _, form = kind.partition("_")
    stored = adata.copy()
    stored.X = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": lambda x: x.toarray()}[form](stored.X)
    if where == "h5":
        stored.write_h5ad(folder / "x.h5ad")
        return ad.read_h5ad(folder / "x.h5ad", backed="r")
    if where == "zarr":
        zarr = pytest.importorskip("zarr", minversion="3")
        stored.write_zarr(folder / "x.zarr")
        group = zarr.open_group(folder / "x.zarr", mode="r")
        stored.X = group["X"] if form == "dense" else ad.io.sparse_dataset(group["X"])
        return stored
    da = pytest.importorskip("dask.array")
    chunks = da.from_array(adata.X.toarray(), chunks=(50, -1))
    stored.X = chunks.map_blocks(sparse.csr_matrix) if form == "csr" else chunks
    return stored


def fit(adata: AnnData, **kwargs: Any) -> BetaLinearSCVI:
    BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = BetaLinearSCVI(adata, n_latent=3, n_hidden=8, seed=0)
    settings = {"max_epochs": 2, "batch_size": 32, "accelerator": "cpu", "enable_progress_bar": False}
    model.train(seed=0, check_val_every_n_epoch=1, **settings | kwargs)
    return model


@pytest.fixture(scope="module")
def in_memory() -> BetaLinearSCVI:
    return fit(simulated())


@pytest.fixture(params=KINDS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnnData]:
    adata = on_disk(simulated(), request.param, tmp_path)
    yield adata
    if adata.isbacked:
        adata.file.close()


def test_the_same_model_and_the_same_curve(in_memory: BetaLinearSCVI, stored: AnnData):
    model = fit(stored)
    for name in ("elbo_train", "elbo_validation", "objective_validation"):
        np.testing.assert_array_equal(model.history[name].to_numpy(), in_memory.history[name].to_numpy())
    for name, weights in in_memory.module.state_dict().items():
        assert torch.equal(model.module.state_dict()[name], weights), name


def test_rows_come_in_the_order_asked_for(in_memory: BetaLinearSCVI, stored: AnnData):
    wanted = in_memory.get_latent_representation()[UNSORTED]
    found = in_memory.get_latent_representation(stored, indices=UNSORTED)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    expression = in_memory.get_normalized_expression(stored, indices=UNSORTED)
    assert list(expression.index) == list(stored.obs_names[UNSORTED])
    wanted = in_memory.get_normalized_expression()
    assert len(wanted) == 160
    rows = in_memory.get_anndata_manager(stored).create_torch_dataset()
    assert isinstance(rows, BackedRows)
    for asked in (UNSORTED, np.array(UNSORTED), slice(20, 5, -3), 7):
        batch = rows[asked]
        index = np.atleast_1d(np.arange(160)[asked])
        np.testing.assert_array_equal(batch["X"], in_memory.adata.X.toarray()[index])
        np.testing.assert_array_equal(
            batch["batch"].ravel(), in_memory.adata_manager.get_from_registry("batch")[index, 0]
        )


def test_files_joined_lazily_are_one_matrix(in_memory: BetaLinearSCVI, tmp_path: Path):
    """What the guide does with many files: no code of ours, so that a change of anndata would show here."""
    pytest.importorskip("dask.array")
    pytest.importorskip("anndata", minversion="0.12")
    h5py = pytest.importorskip("h5py")
    adata = simulated()
    parts = []
    for name, cells in (("a", slice(0, 60)), ("b", slice(60, 61)), ("c", slice(61, 160))):
        adata[cells].copy().write_h5ad(tmp_path / f"{name}.h5ad")
        with h5py.File(tmp_path / f"{name}.h5ad") as file:
            lazy = ad.experimental.read_elem_lazy(file["X"], chunks=(50, adata.n_vars))
            parts.append(ad.AnnData(lazy, obs=ad.io.read_elem(file["obs"]), var=ad.io.read_elem(file["var"])))
    both = ad.concat(parts, merge="same")
    assert both.obs_names.equals(adata.obs_names)
    model = fit(both)
    assert isinstance(model.adata_manager.create_torch_dataset(), BackedRows)
    for name, weights in in_memory.module.state_dict().items():
        assert torch.equal(model.module.state_dict()[name], weights), name
    wanted = in_memory.get_latent_representation()[UNSORTED]
    np.testing.assert_allclose(model.get_latent_representation(indices=UNSORTED), wanted, rtol=1e-4, atol=1e-6)
    for cells, fitted in ((adata, in_memory), (both, model)):
        wi.tl.knockout(cells, fitted, ["gene_0", "gene_7"], n_null=20, progress=False)
    wanted, found = (cells.uns["knockout"]["by_group"] for cells in (adata, both))
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    pd.testing.assert_frame_equal(both.var, adata.var)
    assert type(both.X).__module__.startswith("dask")


def test_stock_models_still_get_other_rows(tmp_path: Path):
    """What the guide says of models that are not ours; once upstream is mended, neither is needed any more."""
    import scvi

    adata = on_disk(simulated(), "h5_csr", tmp_path)
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_hidden=8, n_latent=2)
    model.is_trained_ = True
    model.module.eval()
    everywhere = model.get_latent_representation()
    found = model.get_latent_representation(indices=[150, 3])
    np.testing.assert_allclose(found, everywhere[[3, 150]], rtol=1e-4)
    adata.file.close()


def test_sparse_tensors(tmp_path: Path):
    adata = on_disk(simulated(), "h5_csr", tmp_path)
    model = fit(adata, load_sparse_tensor=True)
    batch = model.adata_manager.create_torch_dataset(load_sparse_tensor=True)[UNSORTED]
    assert batch["X"].layout is torch.sparse_csr
    np.testing.assert_array_equal(batch["X"].to_dense(), simulated().X.toarray()[UNSORTED])
    adata.file.close()


@pytest.mark.parametrize("kind", ["h5_csc", "zarr_csc"])
def test_columns_on_disk_are_refused(tmp_path: Path, kind: str):
    adata = on_disk(simulated(), kind, tmp_path)
    with pytest.raises(ValueError, match=r"column by column \(CSC\).*as CSR, or read it into memory"):
        fit(adata)


def test_chunks_that_vanish_are_an_error_not_zeros(tmp_path: Path, in_memory: BetaLinearSCVI):
    adata = on_disk(simulated(), "zarr_csr", tmp_path)
    in_memory.get_latent_representation(adata)
    chunks = [path for path in (tmp_path / "x.zarr" / "X" / "data").rglob("*") if path.is_file()]
    for path in chunks:
        if path.name != "zarr.json" and not path.name.startswith("."):
            path.unlink()
    with pytest.raises(
        OSError, match=r"nothing but zeros for 3 cell\(s\), the first in row 3.*removed while they were"
    ):
        in_memory.get_latent_representation(adata, indices=[9, 3, 4])
    with pytest.raises(ValueError, match="without any count"):
        fit(adata)
