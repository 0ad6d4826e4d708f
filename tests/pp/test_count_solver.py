"""Interval arithmetic behind recover_counts, on arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from scwhatif.pp._count_solver import Precision, solve, to_csr

FLOAT32 = Precision(0.0, 3 * float(np.finfo(np.float32).eps))
EXACT = Precision(0.0, 4 * float(np.finfo(np.float64).eps))
COUNTS = hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3000))


def logged(counts: np.ndarray, target: float, dtype=np.float32) -> sparse.csr_matrix:
    """Log-normalise in `dtype`, as scanpy does."""
    total = np.maximum(counts.sum(1, keepdims=True), 1).astype(dtype)
    return to_csr(np.log1p(counts.astype(dtype) / (total / dtype(target))))


def lowest_terms(counts: np.ndarray) -> np.ndarray:
    factor = np.gcd.reduce(counts, axis=1, keepdims=True)
    return counts // np.maximum(factor, 1)


@given(counts=COUNTS, target=st.floats(10, 1e6))
@settings(deadline=None, max_examples=150)
def test_counts_come_back_in_lowest_terms(counts: np.ndarray, target: float):
    truth = lowest_terms(counts)
    smallest = np.where(truth > 0, truth, 3001).min(axis=1)
    assume((smallest[truth.any(1)] <= 20).all())
    cells = solve(logged(counts, target), np.e, FLOAT32, 20)
    assert cells.ok.all()
    np.testing.assert_array_equal(cells.counts.toarray(), truth)
    np.testing.assert_array_equal(cells.smallest, np.where(truth.any(1), smallest, 0))
    assert cells.deviation.max(initial=0) < 0.01


@given(counts=COUNTS, base=st.sampled_from([2.0, np.e, 10.0]))
@settings(deadline=None, max_examples=50)
def test_divisor_is_the_value_of_one_count(counts: np.ndarray, base: float):
    counts[:, 0] = 1
    x = logged(counts, 1e4, np.float64) / np.log(base)
    cells = solve(to_csr(x), base, EXACT, 1)
    np.testing.assert_allclose(cells.divisor, 1e4 / counts.sum(1), rtol=1e-9)


@pytest.mark.parametrize("largest", [5_000, 50_000, 150_000])
@pytest.mark.parametrize("target", [1e3, 1e4, 1e6])
def test_large_counts_in_float32(largest: int, target: float):
    rng = np.random.default_rng(largest)
    counts = rng.negative_binomial(0.5, 0.1, (40, 200))
    counts[:, 0] = rng.integers(largest // 2, largest, 40)
    counts[:, 1] = 1
    cells = solve(logged(counts, target), np.e, FLOAT32, 20)
    np.testing.assert_array_equal(cells.counts.toarray(), counts)
    # the bound stated for `tolerance`, with log1p at its largest here
    assert cells.deviation.max() < largest * FLOAT32.relative * np.log1p(target)


def test_a_wrong_large_count_is_refused():
    counts = np.array([[1, 2, 3, 5, 7, 11, 50_000]])
    x = logged(counts, 1e4, np.float64)
    assert solve(x, np.e, FLOAT32, 20).ok.all()
    x.data[-1] = np.log1p(np.expm1(x.data[-1]) / 50_000 * 50_000.41)
    assert not solve(x, np.e, FLOAT32, 1).ok.any()


def test_too_large_for_float32_is_coarse_not_guessed():
    x = logged(np.array([[1, 2, 900_000], [1, 2, 9]]), 1e4)
    cells = solve(x, np.e, FLOAT32, 20)
    np.testing.assert_array_equal(cells.coarse, [True, False])
    np.testing.assert_array_equal(cells.ok, [False, True])
    exact = solve(logged(np.array([[1, 2, 900_000]]), 1e4, np.float64), np.e, EXACT, 20)
    np.testing.assert_array_equal(exact.counts.toarray(), [[1, 2, 900_000]])


@pytest.mark.parametrize("smallest", range(1, 8))
def test_smallest_count_above_one(smallest: int):
    counts = np.array([[smallest, smallest + 1, 4 * smallest + 1, 0]])
    x = logged(counts, 1e4)
    cells = solve(x, np.e, FLOAT32, 20)
    np.testing.assert_array_equal(cells.counts.toarray(), counts)
    assert cells.smallest.tolist() == [smallest]
    if smallest > 1:
        assert not solve(x, np.e, FLOAT32, smallest - 1).ok.any()


def test_rounded_values_need_the_larger_counts_to_fix_the_divisor():
    counts = np.array([[1, 2, 4, 9, 25, 60, 130, 250]])
    x = logged(counts, 2500)
    x.data = x.data.round(3)
    cells = solve(x, np.e, Precision(5e-4, 1.2e-7), 20)
    np.testing.assert_array_equal(cells.counts.toarray(), counts)
    assert abs(cells.divisor[0] / (2500 / counts.sum()) - 1) < 4e-4


def test_empty_cells_and_stored_zeros():
    x = to_csr(sparse.csr_matrix((np.array([0.0, np.log(2)]), np.array([0, 1]), np.array([0, 1, 2, 2])), shape=(3, 2)))
    assert x.nnz == 1
    cells = solve(x, np.e, FLOAT32, 20)
    assert cells.ok.all()
    np.testing.assert_array_equal(cells.counts.toarray(), [[0, 0], [0, 1], [0, 0]])
    np.testing.assert_array_equal(cells.divisor, [np.nan, cells.divisor[1], np.nan])
