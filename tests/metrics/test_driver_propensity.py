"""Probabilities of carrying a driver: out of fold, calibrated, and within bounds."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.metrics import driver_propensity


def test_recovers_what_drives_the_driver():
    rng = np.random.default_rng(0)
    others = rng.integers(2, size=(2000, 3)).astype(float)
    strata = rng.integers(4, size=2000)
    truth = 1 / (1 + np.exp(-(2 * others[:, 0] - 1 + 0.7 * (strata - 1.5))))
    x = (rng.random(2000) < truth).astype(float)
    found = driver_propensity(x, others, strata=strata)
    assert np.abs(found - truth).mean() < 0.03
    assert np.abs(driver_propensity(x, others) - truth).mean() > 0.1


def test_is_out_of_fold():
    rng = np.random.default_rng(1)
    x = rng.integers(2, size=60).astype(float)
    found = driver_propensity(x, rng.normal(size=(60, 40)))
    # in sample, 40 columns would separate 60 samples
    assert abs(found[x == 1].mean() - found[x == 0].mean()) < 0.2


def test_unknown_calls():
    x = np.array([np.nan, 0, 1, 0, 1, 1, 0, np.nan])
    others = np.full((8, 1), np.nan)
    others[1:, 0] = np.arange(7) % 2
    found = driver_propensity(x, others)
    assert np.isnan(found[[0, 7]]).all()
    assert ((found[1:7] >= 1 / 12) & (found[1:7] <= 11 / 12)).all()


def test_bad_input():
    with pytest.raises(ValueError, match="others must be 4 samples"):
        driver_propensity([0, 1, 0, 1], np.zeros((3, 1)))
    with pytest.raises(ValueError, match="two carriers and two others are needed, not 1"):
        driver_propensity([0, 0, 0, 1], np.zeros((4, 1)))
