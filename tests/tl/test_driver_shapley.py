"""Shares of drivers in the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scwhatif.tl._driver_shapley import driver_shapley


def problem(seed: int, n: int = 6, p: int = 5):
    """Distances of moved points in a plane: neither additive nor monotone."""
    rng = np.random.default_rng(seed)
    active = rng.random((n, p)) < 0.6
    start, step = rng.normal(size=(n, 2)), rng.normal(size=(p, 2))

    def distance(rows: np.ndarray, off: np.ndarray) -> np.ndarray:
        return np.linalg.norm(start[rows] - (off & active[rows]) @ step, axis=1)

    return active, distance


def ends(active: np.ndarray, distance) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(len(active))
    return distance(rows, np.zeros_like(active)), distance(rows, active)


def naive(active: np.ndarray, distance, row: int) -> np.ndarray:
    """Mean over all orders of what each driver adds."""
    from itertools import permutations

    players = np.flatnonzero(active[row])
    shares = np.zeros(active.shape[1])
    orders = list(permutations(players))
    for order in orders:
        off = np.zeros((1, active.shape[1]), dtype=bool)
        for player in order:
            before = distance(np.array([row]), off)[0]
            off[0, player] = True
            shares[player] += (before - distance(np.array([row]), off)[0]) / len(orders)
    return shares


def test_matches_all_orders():
    active, distance = problem(0)
    found = driver_shapley(active, distance, rng=np.random.default_rng(0))
    for row in range(len(active)):
        np.testing.assert_allclose(found[row, active[row]], naive(active, distance, row)[active[row]], atol=1e-12)
    assert np.array_equal(np.isnan(found), ~active)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0, 10]))
def test_shares_add_up(seed: int, max_exact: int):
    active, distance = problem(seed)
    found = driver_shapley(active, distance, rng=np.random.default_rng(seed), max_exact=max_exact, n_orders=7)
    on, off = ends(active, distance)
    np.testing.assert_allclose(np.nansum(found, axis=1), on - off, atol=1e-6)


def test_additive_shares_are_the_coefficients():
    rng = np.random.default_rng(0)
    active, coefficient = rng.random((30, 12)) < 0.9, rng.uniform(0.5, 2, 12)

    def distance(rows: np.ndarray, off: np.ndarray) -> np.ndarray:
        return 100.0 + (active[rows] & ~off) @ coefficient

    found = driver_shapley(active, distance, rng=rng, n_orders=10)
    np.testing.assert_allclose(found, np.where(active, coefficient, np.nan), rtol=0.05)


def test_sampled_shares_come_close_to_exact_ones():
    active, distance = problem(1, n=3)
    exact = driver_shapley(active, distance, rng=np.random.default_rng(0))
    sampled = driver_shapley(active, distance, rng=np.random.default_rng(0), max_exact=0, n_orders=4000)
    np.testing.assert_allclose(sampled, exact, atol=0.03)


@pytest.mark.parametrize("max_exact", [0, 10])
def test_samples_without_drivers_have_no_shares(max_exact: int):
    found = driver_shapley(np.zeros((2, 3), dtype=bool), None, rng=np.random.default_rng(0), max_exact=max_exact)
    assert np.isnan(found).all()
