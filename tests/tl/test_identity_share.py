"""Tests of the share of a screen that is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.tl._identity_share import identity_share


def genes(n: int = 400, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    covariates = rng.normal(size=(n, 2)) * [1, 40] + [0, 7]
    y = covariates[:, 0] - 0.5 * covariates[:, 0] ** 2 + 0.02 * covariates[:, 1]
    return np.exp(y + noise * rng.normal(size=n) * y.std()), covariates


def test_everything_nothing_and_in_between():
    assert identity_share(*genes()) > 0.999
    assert identity_share(*genes(noise=1.0)) == pytest.approx(0.5, abs=0.08)
    rng = np.random.default_rng(1)
    assert -0.05 < identity_share(np.exp(rng.normal(size=400)), genes()[1]) < 0.03


def test_units_and_missing_scores_do_not_matter():
    score, covariates = genes(noise=0.5)
    wanted = identity_share(score, covariates)
    assert identity_share(score * 1000, covariates / 7) == pytest.approx(wanted, abs=1e-6)
    gaps = np.concatenate([score, [np.nan, 0.0]])
    assert identity_share(gaps, np.concatenate([covariates, np.ones((2, 2))])) == pytest.approx(wanted)


def test_too_few_genes_or_no_variance():
    score, covariates = genes(29)
    assert np.isnan(identity_share(score, covariates))
    assert np.isnan(identity_share(np.ones(100), genes(100)[1]))
