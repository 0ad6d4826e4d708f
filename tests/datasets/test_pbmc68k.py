"""The bundled blood cells come with integer counts and nothing stale."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import scwhatif as wi
from scwhatif import _validation


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return wi.datasets.pbmc68k()


@pytest.fixture(scope="module")
def bundled() -> ad.AnnData:
    return sc.datasets.pbmc68k_reduced()


def test_counts(adata):
    assert adata.shape == (700, 765)
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    _validation.check_count_matrix(adata.X, adata.obs_names, "X")
    assert adata.X.min() == 0
    assert adata.X.max() == 259
    # pinned: any change in the recovery shows here
    assert adata.X.sum() == 486651
    assert adata.X.nnz == 174400


def test_layer_is_a_copy_of_its_own(adata):
    assert abs(adata.layers["counts"] - adata.X).max() == 0
    assert not np.shares_memory(adata.layers["counts"].data, adata.X.data)


def test_normalising_gives_the_bundled_raw_again(adata, bundled):
    scale = 1e4 / adata.obs["n_counts"].to_numpy()[:, None]
    again = np.log1p(adata.X.toarray() * scale)
    np.testing.assert_allclose(again, bundled.raw.X.toarray(), atol=5.1e-4)


def test_annotation(adata, bundled):
    assert adata.obs["cell_type"].dtype == "category"
    assert adata.obs["cell_type"].tolist() == bundled.obs["bulk_labels"].tolist()
    assert adata.obs["cell_type"].nunique() == 10
    assert {"louvain", "n_counts", "n_genes", "percent_mito", "phase"} <= set(adata.obs)
    assert "bulk_labels" not in adata.obs
    assert set(adata.obsm) == {"X_pca", "X_umap"}
    np.testing.assert_array_equal(adata.obsm["X_umap"], bundled.obsm["X_umap"])


def test_nothing_stale_is_kept(adata):
    assert set(adata.uns) == {"recover_counts"}
    assert adata.raw is None
    assert len(adata.obsp) == len(adata.varm) == 0
    assert adata.uns["recover_counts"]["max_deviation"] == pytest.approx(0.083, abs=5e-4)


def test_each_call_is_independent(adata):
    other = wi.datasets.pbmc68k()
    other.X.data[:] = 0
    other.obs["cell_type"] = "x"
    assert adata.X.sum() > 0
    assert wi.datasets.pbmc68k().obs["cell_type"].nunique() == 10


def test_survives_writing(adata, tmp_path):
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert abs(back.X - adata.X).max() == 0
    assert back.uns["recover_counts"] == adata.uns["recover_counts"]
