from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from scwhatif.perturbation import Edit
from scwhatif.perturbation._apply_columns import apply_columns

FORMATS = [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
OPERATIONS = [("ko", None), ("x", 2), ("x", 0.5), ("=", 0), ("=", 4), ("+", 3), ("+", -3), ("+", 0.5)]
EDITS = st.sampled_from([Edit("feature", ("A",), op, value) for op, value in OPERATIONS])
PAIRS = st.lists(st.tuples(st.integers(0, 3), EDITS), max_size=6)
COUNTS = hnp.arrays(np.int32, (5, 4), elements=st.integers(0, 6))
THIN = Edit("feature", ("A",), "thin", 0.5)
KO = Edit("feature", ("A",), "ko")


def loop(x, pairs):
    rows = [[float(value) for value in row] for row in x]
    for column, edit in pairs:
        for row in rows:
            formulas = {
                "ko": lambda v: 0.0,
                "x": lambda v, by=edit.value: v * by,
                "=": lambda v, to=edit.value: to,
                "+": lambda v, by=edit.value: max(v + by, 0.0),
            }
            row[column] = formulas[edit.op](row[column])
    return rows


@given(COUNTS, PAIRS)
def test_dense_equals_a_loop(x, pairs):
    before = x.copy()
    result = apply_columns(x, pairs)
    assert result.tolist() == loop(x, pairs)
    assert not np.shares_memory(result, x)
    np.testing.assert_array_equal(x, before)


@given(COUNTS, PAIRS, st.sampled_from(FORMATS), st.sampled_from([np.int32, np.float32]))
def test_sparse_equals_dense(x, pairs, matrix_type, dtype):
    matrix = matrix_type(x.astype(dtype))
    parts = [matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy()]
    result, dense = apply_columns(matrix, pairs), apply_columns(x.astype(dtype), pairs)
    assert type(result) is matrix_type
    assert result.dtype == dense.dtype
    np.testing.assert_array_equal(result.toarray(), dense)
    assert np.all(result.data != 0)
    for part, before in zip((matrix.data, matrix.indices, matrix.indptr), parts, strict=True):
        np.testing.assert_array_equal(part, before)
    assert not np.shares_memory(result.data, matrix.data)


@given(COUNTS, st.sampled_from(FORMATS), st.integers(0, 99), st.permutations(range(4)))
def test_thinning_draws_the_same_for_dense_and_sparse(x, matrix_type, seed, columns):
    pairs = [(column, THIN) for column in columns[:3]]
    dense = apply_columns(x, pairs, seed)
    np.testing.assert_array_equal(apply_columns(matrix_type(x), pairs, seed).toarray(), dense)
    np.testing.assert_array_equal(dense[:, columns[3]], x[:, columns[3]])


@pytest.mark.parametrize("matrix_type", FORMATS)
def test_unsorted_and_repeated_entries_count_as_their_sum(matrix_type):
    # Column (or row) 0 holds 1 + 2 at place 2 and 4 at place 0, out of order.
    matrix = matrix_type((np.array([1, 4, 2, 7]), np.array([2, 0, 2, 1]), np.array([0, 3, 4, 4])), shape=(3, 3))
    dense = matrix.toarray()
    stored = matrix.data.copy()
    pairs = [(0, THIN), (2, Edit("feature", ("B",), "+", 1)), (1, THIN)]
    np.testing.assert_array_equal(apply_columns(matrix, pairs, 5).toarray(), apply_columns(dense, pairs, 5))
    np.testing.assert_array_equal(matrix.data, stored)


@pytest.mark.parametrize("matrix_type", FORMATS)
def test_knockout_leaves_the_other_entries_bit_identical(matrix_type):
    x = sparse.random(200, 50, density=0.1, format="csr", random_state=np.random.default_rng(0))
    result = apply_columns(matrix_type(x), [(7, KO), (3, KO)])
    expected = x.toarray()
    expected[:, [3, 7]] = 0
    np.testing.assert_array_equal(result.toarray(), expected)
    assert result.nnz == np.count_nonzero(expected)


def test_dtype_changes_only_for_fractions():
    x = np.ones((2, 2), dtype=np.uint16)
    assert apply_columns(x, [(0, Edit("feature", ("A",), "x", 3))]).dtype == np.uint16
    assert apply_columns(x, [(0, Edit("feature", ("A",), "x", 0.5))]).dtype == np.float64


def test_nothing_to_do_gives_a_copy():
    x = np.arange(4.0).reshape(2, 2)
    result = apply_columns(x, [])
    np.testing.assert_array_equal(result, x)
    assert not np.shares_memory(result, x)


def test_one_generator_serves_all_columns():
    x = np.full((4, 2), 40)
    generator = np.random.default_rng(3)
    first, second = THIN.apply(x[:, 1], generator), THIN.apply(x[:, 0], generator)
    result = apply_columns(x, [(1, THIN), (0, THIN)], 3)
    np.testing.assert_array_equal(result, np.column_stack([second, first]))


def test_thinning_needs_rng_even_without_data():
    with pytest.raises(ValueError, match=r"A:thin0\.5 draws at random: pass rng="):
        apply_columns(np.zeros((0, 1)), [(0, KO), (0, THIN)])


def test_array_subclasses_become_plain_arrays():
    class View(np.ndarray):
        pass

    class SparseView(sparse.csr_matrix):
        pass

    x = np.array([[1, 2]])
    assert type(apply_columns(x.view(View), [(0, KO)])) is np.ndarray
    assert type(apply_columns(SparseView(x), [(0, KO)])) is sparse.csr_matrix


@pytest.mark.parametrize("x", [sparse.coo_matrix([[1, 2]]), [[1, 2]]])
def test_other_containers_are_refused(x):
    with pytest.raises(TypeError, match="expected a numpy array or a scipy CSR or CSC matrix, got"):
        apply_columns(x, [(0, KO)])
