from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scwhatif.metrics import factor_stability


@given(seed=st.integers(0, 2**16))
def test_order_sign_and_scale_are_irrelevant(seed: int):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(30, 4))
    second = first[:, rng.permutation(4)] * rng.choice([-2.0, 0.5], 4) + 1
    stability = factor_stability([first, second])
    assert stability.mean == pytest.approx(1)
    np.testing.assert_allclose(stability.factors[0], 1)
    noisy = second + rng.normal(size=second.shape)
    assert factor_stability([first, noisy]).mean == pytest.approx(factor_stability([noisy, -first]).mean)


def test_matching_is_the_best_of_all():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 4)), rng.normal(size=(12, 4))
    corr = np.abs(np.corrcoef(a.T, b.T)[:4, 4:])
    best = max(np.mean([corr[i, j] for i, j in enumerate(order)]) for order in permutations(range(4)))
    assert factor_stability([a, b]).mean == pytest.approx(best)


def test_independent_runs_do_not_agree():
    rng = np.random.default_rng(1)
    runs = [rng.normal(size=(2000, 5)) for _ in range(3)]
    stability = factor_stability(runs)
    assert stability.matrix.shape == (3, 3)
    np.testing.assert_array_equal(stability.matrix, stability.matrix.T)
    np.testing.assert_array_equal(np.diag(stability.matrix), 1)
    assert stability.mean == pytest.approx(stability.matrix[np.triu_indices(3, 1)].mean())
    assert stability.mean < 0.06


def test_dead_factors_do_not_count_and_unmatched_ones_do():
    first = np.random.default_rng(2).normal(size=(50, 3))
    padded = np.column_stack([np.zeros(50), first[:, ::-1], np.full(50, 7.0)])
    stability = factor_stability([first, padded])
    assert stability.mean == pytest.approx(1)
    np.testing.assert_allclose(stability.factors[1], [np.nan, 1, 1, 1, np.nan])
    fewer = factor_stability([first, first[:, :1]])
    assert fewer.mean == pytest.approx(1 / 3)
    np.testing.assert_allclose(fewer.factors[0], [1, 0, 0])
    dead = np.ones((50, 2))
    assert factor_stability([first, dead]).mean == 0
    assert factor_stability([dead, dead]).mean == 1


def test_spearman_ignores_monotone_maps():
    first = np.random.default_rng(3).normal(size=(60, 2))
    assert factor_stability([first, np.exp(2 * first)], correlation="spearman").mean == pytest.approx(1)
    assert factor_stability([first, np.exp(2 * first)]).mean < 0.9


@pytest.mark.parametrize(
    ("loadings", "correlation", "message"),
    [
        ([np.eye(3)], "pearson", "only 1. Fit again with another seed"),
        ([np.eye(3), np.eye(4)], "pearson", r"different numbers of rows: \[3, 4\]"),
        ([np.eye(3), np.full((3, 3), np.nan)], "pearson", r"loadings\[1\] holds 9 NaN"),
        ([np.eye(3), np.eye(3)], "kendall", "'kendall' must be one of"),
    ],
)
def test_bad_input(loadings: list, correlation: str, message: str):
    with pytest.raises(ValueError, match=message):
        factor_stability(loadings, correlation=correlation)
