"""Copies are put together with everything that still holds."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scwhatif.pp._stack_copies import stack_copies

KEYS = {"condition_key": "condition", "base_cell_key": "base_cell"}


@pytest.fixture
def adata() -> ad.AnnData:
    counts = np.arange(6, dtype=np.float32).reshape(3, 2)
    return ad.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame({"batch": pd.Categorical(["x", "y", "x"]), "_scvi_batch": [0, 1, 0]}, index=list("abc")),
        var=pd.DataFrame({"symbol": ["g", "h"]}, index=["1", "2"]),
        layers={"counts": counts.copy(), "log": np.log1p(counts), "csc": sparse.csc_matrix(counts)},
        obsm={"protein": pd.DataFrame({"CD4": [1, 2, 3]}, index=list("abc")), "z": np.eye(3)},
        obsp={"graph": sparse.eye(3, format="csr")},
        varm={"loadings": np.ones((2, 1))},
        varp={"network": np.eye(2)},
        uns={"kept": {"a": [1]}, "_scvi_uuid": "1"},
    )


def copies(adata: ad.AnnData) -> list[sparse.csr_matrix]:
    base = sparse.csr_matrix(adata.X)
    return [base, (base * 2).tocsr()]


def test_everything_that_holds(adata: ad.AnnData):
    adata.raw = adata
    result = stack_copies(adata, copies(adata), ["control", "twice"], layer=None, **KEYS)
    assert result.obs_names.tolist() == ["a-control", "b-control", "c-control", "a-twice", "b-twice", "c-twice"]
    assert result.obs.columns.tolist() == ["batch", "base_cell", "condition"]
    assert result.obs["base_cell"].tolist() == list("abcabc")
    assert result.obs["condition"].cat.categories.tolist() == ["control", "twice"]
    assert result.obs["batch"].tolist() == list("xyxxyx")
    pd.testing.assert_frame_equal(result.var, adata.var)
    assert result.obsm["protein"]["CD4"].tolist() == [1, 2, 3, 1, 2, 3]
    np.testing.assert_array_equal(result.obsm["z"], np.vstack([np.eye(3)] * 2))
    np.testing.assert_array_equal(result.varm["loadings"], adata.varm["loadings"])
    np.testing.assert_array_equal(result.varp["network"], adata.varp["network"])
    assert result.uns == {"kept": {"a": [1]}}
    assert result.uns["kept"] is not adata.uns["kept"]
    assert result.raw is None
    assert len(result.obsp) == 0


@pytest.mark.parametrize("layer", [None, "counts", "csc"])
def test_equal_matrices_follow_and_others_are_repeated(adata: ad.AnnData, layer: str | None):
    result = stack_copies(adata, copies(adata), ["control", "twice"], layer=layer, **KEYS)
    base = adata.layers["counts"]
    expected = np.vstack([base, 2 * base])
    np.testing.assert_array_equal(result.X.toarray(), expected)
    np.testing.assert_array_equal(result.layers["counts"], expected)
    np.testing.assert_array_equal(result.layers["csc"].toarray(), expected)
    np.testing.assert_array_equal(result.layers["log"], np.vstack([np.log1p(base)] * 2))
    assert isinstance(result.layers["counts"], np.ndarray)
    assert isinstance(result.layers["csc"], sparse.csc_matrix)
    assert result.X.dtype == np.float32


def test_another_matrix_than_the_edited_one_stays(adata: ad.AnnData):
    adata.X = np.zeros((3, 2))
    result = stack_copies(adata, [sparse.csr_matrix(adata.layers["counts"] * 3)], ["thrice"], layer="counts", **KEYS)
    assert result.X.sum() == 0
    np.testing.assert_array_equal(result.layers["counts"], adata.layers["counts"] * 3)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.csc_matrix])
def test_format_is_kept(adata: ad.AnnData, kind: type):
    adata.X = kind(adata.X)
    assert isinstance(stack_copies(adata, copies(adata), ["a", "b"], layer=None, **KEYS).X, kind)


def test_own_dtypes_unless_there_are_fractions(adata: ad.AnnData):
    adata.X = adata.layers["counts"].astype(np.int32)
    whole = stack_copies(adata, [sparse.csr_matrix(adata.X)], ["a"], layer=None, **KEYS)
    assert (whole.X.dtype, whole.layers["counts"].dtype) == (np.int32, np.float32)
    halves = stack_copies(adata, [sparse.csr_matrix(adata.X / 2)], ["a"], layer=None, **KEYS)
    assert (halves.X.dtype, halves.layers["counts"].dtype) == (np.float64, np.float64)
    np.testing.assert_array_equal(halves.layers["counts"], halves.X)


def test_names_that_run_together(adata: ad.AnnData):
    adata.obs_names = ["a", "a-b", "c"]
    with pytest.raises(ValueError, match=r"not unique .'a-b-c'.*rename the conditions"):
        stack_copies(adata, copies(adata), ["b-c", "c"], layer=None, **KEYS)
