"""Columns come out and go in as in a dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scwhatif.pp._replace_columns import read_columns, replace_columns


@given(
    seed=st.integers(0, 2**32),
    columns=st.sets(st.integers(0, 5), max_size=6),
    dtype=st.sampled_from([np.float32, np.float64, np.int32, np.uint16]),
)
@settings(deadline=None)
def test_equals_dense(seed: int, columns: set[int], dtype: type):
    rng = np.random.default_rng(seed)
    dense = rng.poisson(0.7, (8, 6)).astype(dtype)
    matrix = sparse.csr_matrix(dense)
    for column, values in read_columns(matrix, columns).items():
        assert values.dtype == dtype
        np.testing.assert_array_equal(values, dense[:, column])
    new = {column: rng.poisson(0.7, 8) for column in columns}
    replaced = replace_columns(matrix, new)
    expected = dense.copy()
    for column, values in new.items():
        expected[:, column] = values
    np.testing.assert_array_equal(replaced.toarray(), expected)
    assert replaced.dtype == dtype
    assert replaced.nnz == (expected != 0).sum()
    np.testing.assert_array_equal(matrix.toarray(), dense)


@pytest.mark.parametrize(("dtype", "expected"), [(np.int32, np.float64), (np.float32, np.float32)])
def test_fractions(dtype: type, expected: type):
    matrix = sparse.csr_matrix(np.array([[1, 2], [0, 3]], dtype=dtype))
    replaced = replace_columns(matrix, {1: np.array([0.5, 0.0], dtype=expected)})
    assert replaced.dtype == expected
    np.testing.assert_array_equal(replaced.toarray(), [[1, 0.5], [0, 0]])


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 256), (np.float32, 2**24 + 1), (np.int32, 2**31)])
def test_what_does_not_fit(dtype: type, value: int):
    matrix = sparse.csr_matrix(np.ones((2, 2), dtype=dtype))
    replace_columns(matrix, {0: np.array([1, value - 1])})
    with pytest.raises(OverflowError, match=str(float(value))):
        replace_columns(matrix, {0: np.array([1, value])})
