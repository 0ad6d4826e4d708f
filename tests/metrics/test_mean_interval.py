from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from scwhatif.metrics._mean_interval import mean_interval


@pytest.mark.parametrize("n", [5, 30])
def test_holds_as_often_as_it_says(n: int):
    values = np.random.default_rng(0).normal(1.0, 2.0, size=(3000, n))
    low, high = mean_interval(values, n_boot=4000, confidence=0.9, rng=np.random.default_rng(1))
    held = np.mean((low <= 1) & (high >= 1))
    assert held == pytest.approx(0.9, abs=0.025)
    # plain percentiles of five values hold far less often
    if n == 5:
        counts = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), size=4000)
        plain = np.quantile(values @ counts.T / n, [0.05, 0.95], axis=1)
        assert np.mean((plain[0] <= 1) & (plain[1] >= 1)) < 0.85


def test_of_many_values_it_is_students():
    values = np.random.default_rng(0).normal(size=(1, 400))
    low, high = mean_interval(values, n_boot=20_000, confidence=0.95, rng=np.random.default_rng(1))
    expected = t.interval(0.95, 399, values.mean(), values.std(ddof=1) / 20)
    np.testing.assert_allclose([low[0], high[0]], expected, atol=0.005)


def test_rows_share_resamples_so_that_differences_are_paired():
    values = np.random.default_rng(0).normal(size=(1, 12))
    low, high = mean_interval(
        np.concatenate([values, values + 3, -values]), n_boot=500, confidence=0.95, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose([low[1], high[1]], [low[0] + 3, high[0] + 3])
    np.testing.assert_allclose([low[2], high[2]], [-high[0], -low[0]])


def test_one_value_two_values_and_equal_values():
    rng = np.random.default_rng(0)
    assert np.isnan(mean_interval(np.ones((2, 1)), n_boot=10, confidence=0.95, rng=rng)).all()
    low, high = mean_interval(np.array([[0.0, 1.0]]), n_boot=100, confidence=0.95, rng=rng)
    assert (low[0], high[0]) == (0.0, 1.0)
    np.testing.assert_allclose(mean_interval(np.full((1, 9), 2.5), n_boot=100, confidence=0.95, rng=rng), 2.5)
    assert np.isnan(mean_interval(np.full((1, 9), np.nan), n_boot=100, confidence=0.95, rng=rng)).all()
