from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from scwhatif.metrics._class_scores import class_estimates, class_scores, score_gain, score_intervals, share_interval


def cells(n: int, k: int, seed: int, *, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (rounded, so that there are ties), predictions and labels."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(k), rng.integers(k, size=n - k)])
    evidence = np.exp(rng.normal(size=(n, k)) + signal * np.eye(k)[codes])
    probability = np.round(evidence / evidence.sum(axis=1, keepdims=True), 2)
    return probability, probability.argmax(axis=1), codes


@pytest.mark.parametrize("k", [2, 3, 5])
def test_estimates_equal_sklearn(k: int):
    probability, predicted, codes = cells(200, k, seed=k)
    found = class_estimates(probability, predicted, codes)
    auroc = np.mean([roc_auc_score(codes == j, probability[:, j]) for j in range(k)])
    expected = [accuracy_score(codes, predicted), balanced_accuracy_score(codes, predicted), auroc]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(class_scores(probability, predicted, codes).estimate, found)


@given(n=st.integers(8, 60), k=st.integers(2, 4), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_influences_are_derivatives(n: int, k: int, seed: int):
    """To first order, a score changes by a cell's influence if the cell counts a little more."""
    probability, predicted, codes = cells(n, k, seed)
    scores = class_scores(probability, predicted, codes)
    np.testing.assert_allclose(scores.influence.sum(axis=1), 0, atol=1e-12)
    step = 1e-6
    for i in (0, n - 1):
        weight = np.ones(n)
        weight[i] += step
        weight /= weight.sum()
        slope = (weighted(probability, predicted, codes, weight) - scores.estimate) / step
        np.testing.assert_allclose(scores.influence[:, i], slope, atol=1e-5)


def weighted(probability: np.ndarray, predicted: np.ndarray, codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The three scores of weighted cells, by a double loop."""
    k = probability.shape[1]
    hit = predicted == codes
    recall, auc = [], []
    for j in range(k):
        own = codes == j
        recall.append(np.average(hit[own], weights=weight[own]))
        difference = probability[own, j][:, None] - probability[~own, j]
        above = (difference > 0) + 0.5 * (difference == 0)
        auc.append((weight[own] @ above @ weight[~own]) / weight[own].sum() / weight[~own].sum())
    return np.array([np.average(hit, weights=weight), np.mean(recall), np.mean(auc)])


def test_intervals_equal_those_of_a_group_bootstrap():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)
    codes = np.tile([0, 1], 300)
    score = rng.normal(size=600) + codes + 0.7 * rng.normal(size=(60, 2))[groups, codes]
    probability = np.c_[-score, score]
    predicted = (score > 0.5).astype(np.int64)
    scores = class_scores(probability, predicted, codes)
    found = score_intervals(scores, codes, groups)
    draws = []
    for _ in range(600):
        rows = (rng.integers(60, size=60)[:, None] * 10 + np.arange(10)).ravel()
        draws.append(class_estimates(probability[rows], predicted[rows], codes[rows]))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(found.low, low, atol=0.012)
    np.testing.assert_allclose(found.high, high, atol=0.012)


@pytest.mark.parametrize(("n_groups", "spread"), [(6, 0.0), (8, 0.6)])
def test_intervals_cover_the_truth_over_few_donors(n_groups: int, spread: float):
    """Cells of a donor and condition are shifted together; an interval over cells covers three times in four."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(n_groups), 20)
    codes = np.tile([0, 1], 10 * n_groups)
    total = np.sqrt(1 + spread**2)
    truth = np.array([norm.cdf(0.5 / total), norm.cdf(0.5 / total), norm.cdf(1 / (np.sqrt(2) * total))])
    covered = np.zeros((2, 3))
    n_draws = 300
    for _ in range(n_draws):
        score = rng.normal(size=len(codes)) + codes + spread * rng.normal(size=(n_groups, 2))[groups, codes]
        scores = class_scores(np.c_[-score, score], (score > 0.5).astype(np.int64), codes)
        for i, over in enumerate((groups, None)):
            interval = score_intervals(scores, codes, over)
            covered[i] += (interval.low <= truth) & (truth <= interval.high)
    assert (np.abs(covered[0] / n_draws - 0.95) < 0.04).all()
    if spread:
        assert (covered[1] / n_draws < 0.85).all()


@pytest.mark.parametrize(("k", "n"), [(0, 12), (3, 12), (12, 12), (130, 400)])
def test_share_of_independent_cells_is_wilsons(k: int, n: int):
    found = share_interval(np.arange(n) < k, None)
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert found.estimate[0] == k / n
    assert found.low[0] == pytest.approx(expected.low, abs=1e-12)
    assert found.high[0] == pytest.approx(expected.high, abs=1e-12)


def test_cells_that_stand_or_fall_together_count_once():
    hit = np.repeat([True, False, True, True, False, True], 50)
    groups = np.repeat(np.arange(6), 50)
    together, alone = share_interval(hit, groups), share_interval(hit, None)
    assert (together.high - together.low)[0] > 5 * (alone.high - alone.low)[0]
    # six groups without a miss are not certain either
    certain = share_interval(np.ones(300, dtype=bool), groups)
    assert certain.high[0] == 1
    assert certain.low[0] < 0.7


def test_a_constant_prediction_of_copies_has_a_share_that_is_known():
    """Of three copies of each cell, one has the label that is given to all: no cells could have made it otherwise."""
    codes, groups = np.tile([0, 1, 2], 50), np.repeat(np.arange(50), 3)
    scores = class_scores(np.ones((150, 3)), np.zeros(150, dtype=np.int64), codes)
    found = score_intervals(scores, codes, groups)
    for ends in (found.estimate, found.low, found.high):
        np.testing.assert_allclose(ends, [1 / 3, 1 / 3, 0.5], atol=1e-9)


def test_gain_is_paired():
    """Two classifiers that agree nearly everywhere differ by little, however uncertain each is alone."""
    probability, predicted, codes = cells(150, 3, seed=0)
    one = class_scores(probability, predicted, codes)
    other_guess = predicted.copy()
    wrong = np.flatnonzero(predicted != codes)[:4]
    other_guess[wrong] = codes[wrong]
    other = class_scores(probability, other_guess, codes)
    gain = score_gain(other, one, None)
    assert gain.estimate[0] == pytest.approx(4 / 150)
    alone = score_intervals(one, codes, None)
    assert gain.high[0] - gain.low[0] < 0.5 * (alone.high[0] - alone.low[0])
    assert gain.estimate[2] == gain.low[2] == gain.high[2] == 0
    reverse = score_gain(one, other, None)
    np.testing.assert_allclose(reverse.low, -gain.high)
