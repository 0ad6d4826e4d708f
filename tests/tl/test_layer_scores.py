"""Tests of R² over units, its interval, and its permutation test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from scwhatif.metrics import nadeau_bengio_interval
from scwhatif.tl._layer_scores import HeldOut, Score, score_interval


def made(n: int = 60, p: int = 4, n_units: int = 5, seed: int = 0, missing: float = 0.2) -> tuple[HeldOut, np.ndarray]:
    """Predictions that explain about half of the variance."""
    rng = np.random.default_rng(seed)
    guess = rng.normal(size=(n, p))
    truth = guess + rng.normal(size=(n, p))
    unit = np.arange(n) % n_units
    return HeldOut(truth, rng.random((n, p)) > missing, unit, unit), guess


def test_r2_is_that_of_a_loop_and_parts_average_to_it():
    held_out, guess = made()
    score = held_out.score(guess)
    for j in range(4):
        y, p = (each[held_out.observed[:, j], j] for each in (held_out.truth, guess))
        assert score.value[j] == pytest.approx(1 - ((y - p) ** 2).sum() / (y**2).sum())
    np.testing.assert_allclose(score.parts.mean(axis=0), score.value)
    assert score.mean.value[0] == pytest.approx(score.value.mean())
    np.testing.assert_allclose(score.mean.parts[:, 0], score.parts.mean(axis=1))


def test_what_stands_in_missing_entries_does_not_matter():
    held_out, guess = made()
    spoilt = np.where(held_out.observed, guess, np.nan)
    np.testing.assert_array_equal(held_out.score(spoilt).value, held_out.score(guess).value)


def test_reference_and_used_entries():
    held_out, guess = made()
    reference = np.random.default_rng(1).normal(size=guess.shape)
    used = np.arange(60)[:, None] < 40
    score = held_out.score(guess, reference=reference, used=used)
    seen = held_out.observed & used
    error, total = ((np.where(seen, held_out.truth - each, 0) ** 2).sum(axis=0) for each in (guess, reference))
    np.testing.assert_allclose(score.value, 1 - error / total)
    perfect = held_out.score(held_out.truth, reference=reference)
    np.testing.assert_allclose(perfect.value, 1)


def test_a_feature_that_is_nowhere_measured_has_no_score():
    held_out, guess = made()
    held_out.observed[:, 1] = False
    score = held_out.score(guess)
    assert np.isnan(score.value).tolist() == [False, True, False, False]
    assert score.mean.value[0] == pytest.approx(np.nanmean(score.value))
    each, mean = held_out.pvalues(guess, n_permutations=20, rng=np.random.default_rng(0))
    assert np.isnan(each).tolist() == [False, True, False, False]
    assert mean == pytest.approx(1 / 21)
    nothing = held_out.score(guess, used=np.zeros((60, 1), dtype=bool))
    assert np.isnan(nothing.mean.value).all()


def test_interval_over_folds_is_that_of_nadeau_and_bengio_and_over_samples_the_usual_one():
    held_out, guess = made(missing=0.0)
    score = held_out.score(guess)
    se, low, high = score_interval(score, (48, 12))
    mean, wanted_low, wanted_high = nadeau_bengio_interval(score.parts.T, n_train=48, n_test=12)
    np.testing.assert_allclose(mean, score.value)
    np.testing.assert_allclose([low, high], [wanted_low, wanted_high])
    np.testing.assert_allclose(se, score.parts.std(axis=0, ddof=1) * np.sqrt(1 / 5 + 1 / 4))
    by_sample = made(n_units=60, missing=0.0)[0].score(guess)
    se, _, _ = score_interval(by_sample, (np.inf, 1))
    np.testing.assert_allclose(se, by_sample.parts.std(axis=0, ddof=1) / np.sqrt(60))
    assert np.isnan(score_interval(Score(score.value, score.value[None]), (np.inf, 1))).all()


def test_standard_error_over_samples_is_the_spread_of_repeated_data():
    values, errors = [], []
    for seed in range(200):
        held_out, guess = made(n=100, p=1, n_units=100, seed=seed)
        score = held_out.score(guess)
        values.append(score.value[0])
        errors.append(score_interval(score, (np.inf, 1))[0][0])
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.2)


def test_difference_of_scores_is_paired():
    held_out, guess = made()
    worse = guess + 0.01
    score = held_out.score(guess) - held_out.score(worse)
    assert (score_interval(score, (48, 12))[0] < 0.1 * score_interval(held_out.score(guess), (48, 12))[0]).all()


def test_p_values_are_uniform_under_the_null_and_small_otherwise():
    rng = np.random.default_rng(0)
    pvals = []
    for seed in range(150):
        held_out, guess = made(seed=seed, n=40)
        each, _ = held_out.pvalues(rng.normal(size=guess.shape), n_permutations=39, rng=rng)
        pvals.append(each[0])
    assert kstest(pvals, "uniform").pvalue > 0.01
    held_out, guess = made()
    each, mean = held_out.pvalues(guess, n_permutations=99, rng=rng)
    assert mean == 0.01
    assert (each == 0.01).all()


def test_rows_change_places_within_their_stratum_only():
    rng = np.random.default_rng(0)
    stratum = np.repeat(np.arange(10), 12)
    truth = rng.normal(size=(10, 3))[stratum] + 0.1 * rng.normal(size=(120, 3))
    seen = np.ones(truth.shape, dtype=bool)
    means = np.array([truth[stratum == s].mean(axis=0) for s in range(10)])[stratum]
    # all that is explained is the stratum, so no permutation within strata does worse than luck
    guess = means + 0.1 * rng.normal(size=truth.shape)
    _, within = HeldOut(truth, seen, stratum, stratum).pvalues(guess, n_permutations=99, rng=rng)
    _, among = HeldOut(truth, seen, stratum, np.zeros(120, dtype=int)).pvalues(guess, n_permutations=99, rng=rng)
    assert within > 0.05
    assert among == 0.01
    assert np.isnan(HeldOut(truth, seen, stratum, stratum).pvalues(guess, n_permutations=0, rng=rng)[1])
