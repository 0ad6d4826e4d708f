from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scwhatif.engine import by_rows, read_rows

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(0).poisson(0.7, (7, 5)).astype(np.float64)


def assert_rows(x: object, rows: slice | np.ndarray = slice(2, 5)) -> None:
    found = read_rows(by_rows(x), rows)
    assert isinstance(found, sparse.csr_matrix)
    assert found.dtype == np.float32
    assert found.has_canonical_format
    assert found.nnz == np.count_nonzero(X[rows])
    np.testing.assert_array_equal(found.toarray(), X[rows])


def test_every_kind_in_memory():
    for x in (X, X.astype(np.int64), pd.DataFrame(X), sparse.csr_matrix(X), sparse.csc_matrix(X), sparse.csr_array(X)):
        assert_rows(x)
        assert_rows(x, np.array([0, 6]))


def test_every_kind_on_disk(tmp_path: Path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, x in (("dense", X), ("csr", sparse.csr_matrix(X)), ("csc", sparse.csc_matrix(X))):
            ad.io.write_elem(file, name, x)
        assert_rows(file["dense"])
        for name in ("csr", "csc"):
            assert_rows(ad.io.sparse_dataset(file[name]))


@pytest.mark.optional
def test_dask():
    da = pytest.importorskip("dask.array")
    dense = da.from_array(X, chunks=(3, -1))
    assert_rows(dense)
    assert_rows(dense.map_blocks(sparse.csr_matrix))


def test_rows_are_sorted_and_without_zeros_and_the_matrix_is_left_alone():
    x = sparse.csr_matrix((np.array([1.0, 0, 2, 3]), [3, 1, 0, 0], [0, 4]), shape=(1, 5))
    rows = read_rows(x, slice(0, 1))
    np.testing.assert_array_equal(rows.indices, [0, 3])
    np.testing.assert_array_equal(rows.data, [5, 1])
    assert x.nnz == 4


def test_what_has_rows_is_not_copied():
    x = sparse.csr_matrix(X)
    assert by_rows(x) is x
    assert by_rows(X) is X
