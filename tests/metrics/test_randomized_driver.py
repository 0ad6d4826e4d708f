"""Redrawn carriers: their number per stratum, and the exact spread of sums over them."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from scwhatif.metrics._randomized_driver import RandomizedDriver, exceedance_pvalues

X = np.array([1, 0, 0, 1, 1, 0, np.nan, 0, 1.0])
STRATA = np.array(["b", "b", "b", "a", "a", "a", "a", "c", "d"])


def test_shuffling_keeps_the_carriers_of_every_stratum():
    driver = RandomizedDriver(X, strata=STRATA)
    # sorted by stratum; c and d hold no two kinds, and one sample was not called
    assert driver.rows.tolist() == [3, 4, 5, 0, 1, 2]
    drawn = driver.draw(500, np.random.default_rng(0)) + np.repeat([2 / 3, 1 / 3], 3)
    assert np.allclose(drawn[:, :3].sum(axis=1), 2)
    assert np.allclose(drawn[:, 3:].sum(axis=1), 1)
    # all placements occur about equally often
    counts = np.unique(np.round(drawn[:, 3:]), axis=0, return_counts=True)[1]
    assert len(counts) == 3
    assert counts.min() > 120


def test_spread_under_shuffling_is_exact():
    values = np.random.default_rng(0).normal(size=(9, 4))
    values[4, 1] = values[0, 2] = np.nan
    driver = RandomizedDriver(X, strata=STRATA)
    centred = driver.centre(values)
    a, b = centred[:3], centred[3:]
    sums = [a[list(i)].sum(axis=0) + b[j] for i, j in product(combinations(range(3), 2), range(3))]
    assert np.allclose(driver.null_sd(centred), np.std(sums, axis=0))
    assert np.allclose(driver.deviation @ centred, a[:2].sum(axis=0) + b[0])


def test_residuals_lose_the_mean_of_what_was_measured():
    values = np.arange(9.0)[:, None].copy()
    values[5] = np.nan
    centred = RandomizedDriver(X, strata=STRATA).centre(values)
    assert centred.ravel().tolist() == [-0.5, 0.5, 0, -1, 0, 1]


def test_draws_from_a_propensity():
    p = np.linspace(0.1, 0.9, 9)
    driver = RandomizedDriver(X, strata=STRATA, propensity=p)
    assert sorted(driver.rows) == [0, 1, 2, 3, 4, 5, 7, 8]
    drawn = driver.draw(20_000, np.random.default_rng(0))
    assert np.allclose(drawn.mean(axis=0), 0, atol=0.02)
    centred = driver.centre(np.random.default_rng(1).normal(size=(9, 3)))
    assert np.allclose((drawn @ centred).std(axis=0), driver.null_sd(centred), rtol=0.03)


def test_nothing_to_compare():
    driver = RandomizedDriver(np.ones(4))
    assert len(driver.rows) == 0
    assert driver.null_sd(driver.centre(np.ones((4, 2)))).tolist() == [0, 0]
    assert driver.draw(3, np.random.default_rng(0)).shape == (3, 0)


def test_rare_statistics_get_more_draws():
    rng = np.random.default_rng(0)
    observed = np.array([0.0, 2.0, 9.0, np.nan])
    pval, n = exceedance_pvalues(
        observed, lambda n, wanted: rng.normal(size=(n, len(wanted))), 1, n_null=5000, n_first=100, stop_after=20
    )
    assert n.tolist() == [100, 1000, 5000, 0]
    assert pval[2] == 1 / 5001
    assert np.allclose(pval[:2], [0.5, 0.0228], rtol=0.4)
    assert np.isnan(pval[3])


def test_the_same_carriers_are_a_tie():
    pval, _ = exceedance_pvalues(
        np.array([1.0]), lambda n, _: np.full((n, 1), np.float32(0.99999)), 1, n_null=9, n_first=9, stop_after=1
    )
    assert pval.tolist() == [1.0]


@pytest.mark.parametrize(
    ("x", "given", "message"),
    [
        ([0, 1, 2], {}, "nothing but 0, 1 and NaN"),
        ([[0, 1]], {}, "one-dimensional"),
        ([0, 1], {"strata": ["a"]}, "strata has shape"),
        ([0, 1], {"propensity": [0.5]}, "propensity has shape"),
        ([0, 1], {"propensity": [0.5, 1.0]}, "within"),
    ],
)
def test_bad_input(x, given, message):
    with pytest.raises(ValueError, match=message):
        RandomizedDriver(x, **given)
