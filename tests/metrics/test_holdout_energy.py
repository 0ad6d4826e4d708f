"""Tests of whole groups of features: equal to a loop, valid, and indifferent to the size of a group."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scwhatif.metrics import holdout_energy
from scwhatif.metrics._randomized_driver import RandomizedDriver


def sample(seed: int, sizes: tuple[int, ...], n: int = 80):
    """Correlated features, and a driver, both moved by strata."""
    rng = np.random.default_rng(seed)
    strata = rng.integers(3, size=n)
    x = (rng.random(n) < 0.2 + 0.2 * strata).astype(float)
    layers = [
        strata[:, None] + rng.normal(size=(n, 2)) @ rng.normal(size=(2, k)) + rng.normal(size=(n, k)) for k in sizes
    ]
    layers[0][rng.random(layers[0].shape) < 0.1] = np.nan
    return x, layers, strata


def test_equals_a_loop():
    # more features than samples, and fewer
    x, layers, strata = sample(0, (7, 100), n=40)
    found = holdout_energy(x, layers, strata=strata, n_null=200, seed=5)
    driver = RandomizedDriver(x, strata=strata)
    drawn = driver.draw(200, np.random.default_rng(5))
    for g, layer in enumerate(layers):
        centred = driver.centre(layer)
        sd = driver.null_sd(centred)
        energy = [np.mean([(row @ centred[:, f] / sd[f]) ** 2 for f in range(len(sd))]) for row in drawn]
        observed = np.mean([(driver.deviation @ centred[:, f] / sd[f]) ** 2 for f in range(len(sd))])
        assert np.isclose(found.energy[g], observed, rtol=1e-4)
        assert np.allclose(found.null[:, g], (energy - np.mean(energy)) / np.std(energy), atol=1e-3)
        assert np.isclose(found.statistic[g], (observed - np.mean(energy)) / np.std(energy), atol=1e-3)
        assert found.pval[g] == (1 + (np.array(energy) >= observed).sum()) / 201


def test_p_values_are_uniform_for_groups_of_any_size():
    pvals = []
    for seed in range(80):
        x, layers, strata = sample(seed, (2, 20, 90))
        pvals.append(holdout_energy(x, layers, strata=strata, n_null=99, seed=seed).pval)
    for column in np.array(pvals).T:
        assert stats.kstest(column, "uniform").pvalue > 0.01


def test_energy_is_one_by_chance():
    rng = np.random.default_rng(0)
    x, y = rng.integers(2, size=100), rng.normal(size=(100, 2000))
    assert abs(holdout_energy(x, [y], n_null=20).energy[0] - 1) < 0.15


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_the_group_that_is_moved_stands_out(moved: int):
    x, layers, strata = sample(1, (5, 50, 400), n=150)
    layers[moved] = layers[moved] + x[:, None] * np.random.default_rng(2).normal(0, 1.5, layers[moved].shape[1])
    found = holdout_energy(x, layers, strata=strata, n_null=999)
    assert found.statistic.argmax() == moved
    assert found.pval[moved] == 0.001
    assert (np.delete(found.pval, moved) > 0.01).all()


def test_draws_are_shared_by_groups():
    x, layers, strata = sample(3, (6, 6))
    found = holdout_energy(x, [layers[1], 5 * layers[1]], strata=strata, n_null=50)
    assert np.allclose(found.null[:, 0], found.null[:, 1], atol=1e-3)


def test_nothing_known():
    found = holdout_energy(np.ones(5), [np.zeros((5, 2)), np.full((5, 3), np.nan)], n_null=10)
    assert np.isnan(found.statistic).all()
    assert np.isnan(found.pval).all()


def test_bad_input():
    with pytest.raises(ValueError, match="5 samples × features in every group"):
        holdout_energy(np.ones(5), [np.zeros((4, 2))])
    with pytest.raises(ValueError, match="n_null=1 must"):
        holdout_energy(np.ones(5), [np.zeros((5, 2))], n_null=1)
