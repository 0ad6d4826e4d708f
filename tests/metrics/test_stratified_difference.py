"""Differences within strata: those of least squares."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.metrics._stratified_difference import stratified_difference


@pytest.mark.parametrize("seed", range(5))
def test_equals_least_squares_on_what_was_measured(seed: int):
    rng = np.random.default_rng(seed)
    strata = rng.choice(["a", "b", "c"], size=40)
    x = rng.integers(2, size=40).astype(float)
    x[:2] = np.nan
    y = rng.normal(size=(40, 3)) + x[:, None]
    y[rng.random(y.shape) < 0.2] = np.nan
    found = stratified_difference(x, y, strata=strata)
    for f in range(3):
        rows = ~np.isnan(x) & ~np.isnan(y[:, f])
        design = np.column_stack([x[rows], *(strata[rows] == s for s in "abc")]).astype(float)
        slope, left, *_ = np.linalg.lstsq(design, y[rows, f], rcond=None)
        df = rows.sum() - 4
        se = np.sqrt(left[0] / df * np.linalg.inv(design.T @ design)[0, 0])
        assert np.allclose([found.difference[f], found.se[f], found.df[f]], [slope[0], se, df])
        assert found.n_carriers[f] == x[rows].sum()


def test_no_stratum_holds_both():
    found = stratified_difference([0, 0, 1, 1], np.arange(8.0).reshape(4, 2), strata=[0, 0, 1, 1])
    assert np.isnan(found.difference).all()
    assert np.isnan(found.se).all()
    assert found.n_carriers.tolist() == [2, 2]


def test_few_carriers_have_wide_errors():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 1))
    rare, common = np.arange(200) < 4, np.arange(200) < 100
    assert stratified_difference(rare, y).se[0] > 3 * stratified_difference(common, y).se[0]


def test_bad_input():
    with pytest.raises(ValueError, match="values must be 3 samples"):
        stratified_difference([0, 1, 0], np.zeros((2, 1)))
