"""Tests of drivers on one number per sample."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.tl._storm_null import driver_tests, observed_differences

SETTINGS = {"n_null": 2000, "min_carriers": 5, "seed": 0}


def simulate(seed: int = 0, n: int = 160, effect: float = 1.5):
    """Driver 0 raises the outcome, driver 1 does nothing, driver 2 has few carriers."""
    rng = np.random.default_rng(seed)
    strata = rng.integers(3, size=n)
    x = (rng.random((n, 3)) < 0.3).astype(float)
    x[:, 2] = np.arange(n) < 4
    x[:6, 0] = np.nan
    outcome = 2.0 * strata + np.nan_to_num(x[:, 0]) * effect + rng.normal(size=n)
    outcome[-3:] = np.nan
    residuals = np.repeat(outcome[:, None], 3, axis=1)
    return x, residuals, strata


@pytest.mark.parametrize("sides", [1, 2])
def test_finds_the_planted_driver_in_its_direction(sides: int):
    x, residuals, strata = simulate()
    effects = np.tile([0.3, 0.3, 0.3], (len(x), 1))
    found = driver_tests(effects, residuals, x, strata, sides=sides, **SETTINGS)
    assert found.pval[0] == pytest.approx(sides / 2001)
    assert found.statistic[0] > 4
    assert found.selection_probability[0] == 1
    assert found.pval[1] > 0.05
    assert found.selection_probability[1] < 0.5
    # too few carriers
    assert np.isnan([found.pval[2], found.statistic[2], found.selection_probability[2]]).all()


def test_the_wrong_direction_is_not_confirmed():
    x, residuals, strata = simulate()
    found = driver_tests(np.full(x.shape, -0.3), residuals, x, strata, sides=2, **SETTINGS)
    assert found.pval[0] == 1
    assert found.statistic[0] < -4
    assert found.selection_probability[0] == 0


def test_statistic_is_the_stratified_difference():
    x, residuals, strata = simulate()
    found = driver_tests(np.full(x.shape, 0.3), residuals, x, strata, sides=2, **SETTINGS)
    total = variance = 0.0
    for s in range(3):
        rows = (strata == s) & ~np.isnan(x[:, 0]) & ~np.isnan(residuals[:, 0])
        carrier, value = x[rows, 0], residuals[rows, 0]
        total += (carrier * (value - value.mean())).sum()
        variance += (value.var() * len(value)) * (carrier.var() * len(value)) / (len(value) - 1)
    assert found.statistic[0] == pytest.approx(total / np.sqrt(variance))


def test_strata_are_not_mistaken_for_drivers():
    rng = np.random.default_rng(0)
    pvals = []
    for _ in range(60):
        strata = rng.integers(2, size=120)
        x = (rng.random((120, 1)) < np.where(strata, 0.7, 0.2)[:, None]).astype(float)
        residuals = 3.0 * strata[:, None] + rng.normal(size=(120, 1))
        settings = {**SETTINGS, "n_null": 200}
        pvals.append(driver_tests(np.ones(x.shape), residuals, x, strata, sides=1, **settings).pval[0])
    assert np.mean(np.array(pvals) < 0.05) < 0.15


def test_nothing_is_drawn_with_n_null_0():
    x, residuals, strata = simulate()
    found = driver_tests(np.ones(x.shape), residuals, x, strata, sides=1, **{**SETTINGS, "n_null": 0})
    assert np.isnan(np.stack(found)).all()


def test_observed_difference_is_that_of_least_squares():
    x, residuals, strata = simulate()
    found = observed_differences(residuals, x, strata)
    rows = ~np.isnan(x[:, 0]) & ~np.isnan(residuals[:, 0])
    design = np.c_[x[rows, 0], np.eye(3)[strata[rows]]]
    fit, left = np.linalg.lstsq(design, residuals[rows, 0], rcond=None)[:2]
    assert found.observed[0] == pytest.approx(fit[0])
    assert found.df[0] == rows.sum() - 4
    variance = left[0] / found.df[0] * np.linalg.inv(design.T @ design)[0, 0]
    assert found.observed_se[0] == pytest.approx(np.sqrt(variance))
    # four carriers tell little
    assert found.observed_se[2] > 2 * found.observed_se[1]
