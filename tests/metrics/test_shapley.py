"""Tests of Shapley values against all orders of joining, and their axioms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scwhatif.metrics import shapley_values


def naive(worth: np.ndarray, n: int) -> np.ndarray:
    shares = np.zeros(n)
    orders = list(permutations(range(n)))
    for order in orders:
        coalition = 0
        for player in order:
            shares[player] += worth[coalition | 1 << player] - worth[coalition]
            coalition |= 1 << player
    return shares / len(orders)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 5), seed=st.integers(0, 1000))
def test_equals_the_mean_over_all_orders(n: int, seed: int):
    worth = np.random.default_rng(seed).normal(size=2**n)
    found = shapley_values(worth)
    np.testing.assert_allclose(found, naive(worth, n), atol=1e-12)
    assert found.sum() == pytest.approx(worth[-1] - worth[0], abs=1e-12)


def test_dummy_and_symmetry():
    # 0 and 1 back each other up, 2 does nothing
    worth = np.array([0, 1, 1, 1, 0, 1, 1, 1], dtype=float)
    np.testing.assert_allclose(shapley_values(worth), [0.5, 0.5, 0])


def test_further_dimensions_and_nobody():
    worth = np.random.default_rng(0).normal(size=(8, 3))
    found = shapley_values(worth)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found[:, 1], shapley_values(worth[:, 1]))
    assert shapley_values([0.0]).shape == (0,)


@pytest.mark.parametrize("n", [0, 3, 6])
def test_bad_input(n: int):
    with pytest.raises(ValueError, match=f"{n} coalitions, which is no power of two"):
        shapley_values(np.zeros(n))
