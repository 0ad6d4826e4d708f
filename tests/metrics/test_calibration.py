from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from scipy.special import logit as to_logit

from scwhatif.metrics import calibration_bins, calibration_slope, expected_calibration_error

rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(np.linspace(0, 1, 9).tolist())), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, 8))
def test_uniform_error_equals_a_loop(rows, n_bins: int):
    labels, p = np.array(rows).T
    total = 0.0
    for b in range(n_bins):
        low, high = b / n_bins, (b + 1) / n_bins
        inside = (p >= low) & ((p < high) | (b == n_bins - 1))
        if inside.any():
            total += inside.mean() * abs(labels[inside].mean() - p[inside].mean())
    found = expected_calibration_error(labels, p, n_bins=n_bins, strategy="uniform")
    assert found == pytest.approx(total, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, 8), st.sampled_from(["quantile", "uniform"]))
def test_bins_partition_the_rows(rows, n_bins: int, strategy: str):
    labels, p = np.array(rows).T
    bins = calibration_bins(labels, p, n_bins=n_bins, strategy=strategy)
    assert bins["n"].sum() == len(p)
    assert len(bins) <= n_bins
    assert bins["predicted"].is_monotonic_increasing
    assert np.average(bins["predicted"], weights=bins["n"]) == pytest.approx(p.mean())
    assert np.average(bins["observed"], weights=bins["n"]) == pytest.approx(labels.mean())
    assert 0 <= expected_calibration_error(labels, p, n_bins=n_bins, strategy=strategy) <= 1


def test_quantile_bins_are_of_equal_size_and_never_split_ties():
    rng = np.random.default_rng(0)
    bins = calibration_bins(rng.integers(2, size=1000), rng.uniform(size=1000) ** 4)
    assert (bins["n"] == 100).all()
    tied = calibration_bins([0, 1, 0, 1], [0.2, 0.2, 0.2, 0.8], n_bins=4)
    assert tied["n"].tolist() == [3, 1]
    assert len(calibration_bins([0, 1], [0.5, 0.5])) == 1


def test_error_of_a_constant_and_of_the_truth():
    rng = np.random.default_rng(1)
    p = rng.beta(1, 9, 20_000)
    labels = rng.uniform(size=p.size) < p
    assert expected_calibration_error(labels, np.full(p.size, 0.5)) == pytest.approx(0.5 - labels.mean())
    assert expected_calibration_error(labels, p) < 0.01
    assert expected_calibration_error(labels, p / 2) == pytest.approx(p.mean() / 2, abs=0.01)


def test_slope_is_the_maximum_likelihood_fit():
    rng = np.random.default_rng(2)
    logit = rng.normal(-2, 1.5, 5000)
    labels = rng.uniform(size=5000) < expit(logit)
    p = expit(3 * logit + 2)

    def loss(ab: np.ndarray) -> float:
        z = ab[0] + ab[1] * to_logit(np.clip(p, 1e-6, 1 - 1e-6))
        return float(np.mean(np.logaddexp(0, z) - labels * z))

    best = minimize(loss, [0.0, 1.0], tol=1e-12).x
    fit = calibration_slope(labels, p)
    np.testing.assert_allclose([fit.intercept, fit.slope], best, atol=1e-3)
    assert fit.slope == pytest.approx(1 / 3, abs=0.02)
    right = calibration_slope(labels, expit(logit))
    np.testing.assert_allclose([right.intercept, right.slope], [0, 1], atol=0.1)


def test_narrow_range_of_probabilities():
    rng = np.random.default_rng(3)
    labels = rng.uniform(size=4000) < 0.05
    fit = calibration_slope(labels, 0.05 + 1e-4 * rng.normal(size=4000) + 1e-4 * labels)
    assert fit.slope > 100
    # two normal densities a standard deviation apart, at the mean of the lower one
    z = np.log(0.05 / 0.95)
    assert fit.intercept + fit.slope * z == pytest.approx(z - 0.5, abs=0.3)


def test_ends_of_the_fit():
    fit = calibration_slope([0, 0, 0, 1], [0.5] * 4)
    assert np.isnan(fit.slope)
    assert fit.intercept == pytest.approx(np.log(1 / 3))
    assert calibration_slope([0, 0, 1], [0.1, 0.2, 0.3]).slope == np.inf
    assert calibration_slope([1, 1, 0], [0.1, 0.2, 0.3]).slope == -np.inf
    assert np.isfinite(calibration_slope([0, 1, 0, 1], [0.0, 0.4, 0.6, 1.0])).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"n_bins": 0}, "n_bins=0"), ({"strategy": "even"}, "strategy='even' must be one of")],
)
def test_bad_bins(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        calibration_bins([0, 1], [0.1, 0.2], **kwargs)


def test_bad_labels():
    with pytest.raises(ValueError, match="not only 0"):
        calibration_slope([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="within"):
        expected_calibration_error([0, 1], [0.1, 1.2])
