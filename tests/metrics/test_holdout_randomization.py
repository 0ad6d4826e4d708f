"""Tests of predicted effects on held-out data: equal to a loop, valid under confounding, and not blind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scwhatif.metrics import holdout_randomization
from scwhatif.metrics._randomized_driver import RandomizedDriver


def confounded(seed: int, n: int = 200, n_features: int = 40, n_strata: int = 5):
    """Driver and features that both depend on the stratum, and on nothing else in common."""
    rng = np.random.default_rng(seed)
    strata = rng.integers(n_strata, size=n)
    x = (rng.random(n) < np.linspace(0.1, 0.7, n_strata)[strata]).astype(float)
    y = 2.0 * strata[:, None] + rng.normal(size=(n, n_features)) + rng.normal(size=(n, 1))
    x[rng.random(n) < 0.05] = np.nan
    y[rng.random(y.shape) < 0.1] = np.nan
    return x, y, strata


def test_equals_a_loop():
    x, y, strata = confounded(0, n=60, n_features=6)
    effect = np.random.default_rng(1).normal(size=y.shape)
    found = holdout_randomization(x, y, effect, strata=strata, n_null=99, n_first=99, seed=3)
    driver = RandomizedDriver(x, strata=strata)
    drawn = driver.draw(99, np.random.default_rng(3))
    for f in range(6):
        observed, null = 0.0, np.zeros(99)
        for s in np.unique(strata):
            rows = [i for i, row in enumerate(driver.rows) if strata[row] == s and not np.isnan(y[row, f])]
            if not rows:
                continue
            mean = np.mean([y[driver.rows[i], f] for i in rows])
            for i in rows:
                term = effect[driver.rows[i], f] * (y[driver.rows[i], f] - mean)
                observed += term * driver.deviation[i]
                null += term * drawn[:, i]
        assert found.pval[f] == (1 + (null >= observed - 1e-4 * null.std()).sum()) / 100
        assert np.isclose(found.statistic[f], observed / null.std(), rtol=0.3)


def test_p_values_are_uniform_although_strata_move_both():
    within, ignored = [], []
    for seed in range(40):
        x, y, strata = confounded(seed, n_features=10)
        effect = np.random.default_rng(seed).normal(size=10)
        within += list(holdout_randomization(x, y, effect, strata=strata, n_null=199, seed=seed).pval)
        ignored += list(holdout_randomization(x, y, np.ones(10), n_null=199, seed=seed).pval)
    assert stats.kstest(within, "uniform").pvalue > 0.01
    assert 0.03 < np.mean(np.array(within) <= 0.05) < 0.075
    assert np.mean(np.array(ignored) <= 0.05) > 0.9


def test_given_the_true_propensity_another_driver_does_no_harm():
    within, conditional = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        other = rng.integers(2, size=300)
        p = np.where(other == 1, 0.8, 0.2)
        x = (rng.random(300) < p).astype(float)
        y = other[:, None] + rng.normal(size=(300, 5))
        within += list(holdout_randomization(x, y, np.ones(5), n_null=199, seed=seed).pval)
        conditional += list(holdout_randomization(x, y, np.ones(5), propensity=p, n_null=199, seed=seed).pval)
    assert stats.kstest(conditional, "uniform").pvalue > 0.01
    assert np.mean(np.array(within) <= 0.05) > 0.9


def test_only_effects_of_the_predicted_sign_are_found():
    x, y, strata = confounded(0, n=400)
    moved = np.where(x == 1, 0.8, 0.0)[:, None] * np.array([1.0] * 10 + [-1.0] * 10 + [0.0] * 20) + y
    right = holdout_randomization(x, moved, np.r_[np.ones(10), -np.ones(10), np.ones(20)], strata=strata, n_null=2000)
    assert (right.pval[:20] < 0.001).all()
    assert (right.pval[20:] < 0.05).sum() <= 4
    wrong = holdout_randomization(x, moved, -np.ones(40), strata=strata, n_null=2000)
    assert (wrong.pval[:10] > 0.999).all()


def test_signs_learned_from_tested_samples_need_two_sides():
    """Each fold is tested in the direction of the others: one-sided p-values are too small by half, doubled are not."""
    single, doubled = [], []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        x, y, fold = rng.integers(2, size=100), rng.normal(size=(100, 200)), np.arange(100) % 5
        slopes = np.array(
            [y[(fold != k) & (x == 1)].mean(axis=0) - y[(fold != k) & (x == 0)].mean(axis=0) for k in range(5)]
        )
        by_fold, agreed = np.sign(slopes)[fold], np.sign(slopes.mean(axis=0))
        single.append(holdout_randomization(x, y, by_fold, strata=fold, n_null=499, seed=seed).pval)
        doubled.append(holdout_randomization(x, y, agreed, strata=fold, sides=2, n_null=499, seed=seed).pval)
    assert np.mean(np.array(single) <= 0.05) > 0.08
    for level in (0.02, 0.05, 0.2):
        assert abs(np.mean(np.array(doubled) <= level) - level) < 4 * np.sqrt(level / 3000)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_invariants(seed: int, scale: float, shift: float):
    x, y, strata = confounded(seed, n=60, n_features=4)
    effect = np.array([1.0, -2.0, 0.5, 0.0])
    found = holdout_randomization(x, y, effect, strata=strata, n_null=99, seed=0)
    # neither the units nor what all samples of a stratum share matter
    moved = holdout_randomization(
        x, scale * (y + shift * strata[:, None]), 3 * effect, strata=strata, n_null=99, seed=0
    )
    assert np.allclose(found.statistic, moved.statistic, equal_nan=True)
    assert np.allclose(found.pval, moved.pval, equal_nan=True)
    turned = holdout_randomization(x, y, -effect, strata=strata, n_null=99, seed=0)
    assert np.allclose(found.statistic, -turned.statistic, equal_nan=True)
    # ties count for both
    assert (found.pval + turned.pval)[:3].min() >= 1.0
    # samples whose driver was not called tell nothing
    called = ~np.isnan(x)
    assert np.allclose(
        found.statistic,
        holdout_randomization(x[called], y[called], effect, strata=strata[called], n_null=99).statistic,
        equal_nan=True,
    )
    assert np.isnan(found.pval[3])
    assert found.n_null.tolist() == [99, 99, 99, 0]


def test_rare_features_get_all_draws():
    x, y, strata = confounded(0, n=300)
    y[:, 0] += 2 * (x == 1)
    found = holdout_randomization(x, y, np.ones(40), strata=strata, n_null=20_000)
    assert found.n_null[0] == 20_000
    assert found.pval[0] == 1 / 20_001
    assert (found.n_null[1:] == 1000).mean() > 0.5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"residuals": np.zeros((3, 2))}, r"got \(4,\), \(3, 2\), \(2,\)"),
        ({"effect": np.zeros(3)}, "x must be"),
        ({"sides": 3}, "sides=3"),
        ({"n_null": 0}, "n_null=0"),
        ({"stop_after": 0}, "stop_after=0"),
    ],
)
def test_bad_input(changed, message):
    arguments = {"x": np.array([0, 1, 0, 1]), "residuals": np.zeros((4, 2)), "effect": np.zeros(2)} | changed
    with pytest.raises(ValueError, match=message):
        holdout_randomization(**arguments)
