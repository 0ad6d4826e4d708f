"""Tests of the matched null: uniform where nothing is special, small where something is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scwhatif.metrics import MIN_MATCHED, matched_neighbours, matched_null_pvalues


def exchangeable(n: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that follow two covariates on a curve, with log-normal scatter of any size."""
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(n, 2)) * [1.0, 30.0]
    trend = 0.8 * covariates[:, 0] + 0.2 * np.sin(covariates[:, 0]) + 0.01 * covariates[:, 1]
    return np.exp(trend + 0.3 * rng.normal(size=n)), covariates


def test_neighbours_equal_brute_force():
    rng = np.random.default_rng(0)
    covariates, eligible = rng.normal(size=(60, 3)) * [1, 5, 0.1], rng.random(60) < 0.7
    targets = np.flatnonzero(eligible)[::3]
    found = matched_neighbours(covariates, eligible, targets, n_null=7)
    scaled = covariates / covariates[eligible].std(axis=0)
    for target, near in zip(targets, found, strict=True):
        distance = np.linalg.norm(scaled - scaled[target], axis=1)
        distance[~eligible] = np.inf
        distance[target] = np.inf
        assert list(near) == list(np.argsort(distance)[:7])


@given(hnp.arrays(np.int64, (30, 2), elements=st.integers(0, 2)), st.integers(1, 40))
def test_a_feature_never_matches_itself(covariates: np.ndarray, n_null: int):
    found = matched_neighbours(covariates, np.ones(30, bool), np.arange(30), n_null)
    assert found.shape == (30, min(n_null, 29))
    for target, near in enumerate(found):
        assert target not in near
        assert len(set(near)) == len(near)


@pytest.mark.parametrize("n_null", [25, 50, 100])
def test_uniform_where_features_are_exchangeable(n_null: int):
    pval, rank = [], []
    for seed in range(4):
        null = matched_null_pvalues(*exchangeable(seed=seed), n_null=n_null)
        pval.append(null.pval)
        rank.append(null.pval_rank)
    # 8000 p-values, correlated through shared matches: the bounds are four standard errors of independent ones, widened
    for values in np.concatenate(pval), np.concatenate(rank):
        counts = np.histogram(values, bins=5, range=(0, 1))[0] / len(values)
        assert np.abs(counts - 0.2).max() < 0.03
    share = [np.mean(np.concatenate(pval) <= alpha) / alpha for alpha in (0.05, 0.01)]
    assert 0.85 < share[0] < 1.15
    assert 0.6 < share[1] < 1.4


def test_no_discovery_where_nothing_is_special():
    from scipy.stats import false_discovery_control

    found = [
        (false_discovery_control(matched_null_pvalues(*exchangeable(500, seed)).pval) < 0.05).sum()
        for seed in range(20)
    ]
    # some discovery is expected in one run of twenty
    assert np.count_nonzero(found) <= 4


def test_planted_features_are_found_although_they_are_each_others_matches():
    from scipy.stats import false_discovery_control

    score, covariates = exchangeable(1000)
    planted = np.argsort(np.abs(covariates - [1.0, 10.0]) @ [1, 0.03])[:12]
    score[planted] *= np.exp(2.0)
    found = np.flatnonzero(false_discovery_control(matched_null_pvalues(score, covariates).pval) < 0.05)
    assert set(planted) <= set(found)
    assert len(found) <= len(planted) + 3


def test_a_feature_at_the_edge_is_compared_with_the_trend():
    covariates = np.linspace(0, 10, 200)[:, None]
    score = np.exp(2 * covariates[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200))
    null = matched_null_pvalues(score, covariates)
    # the mean of its matches would be e^10 times smaller
    assert null.expected[-1] == pytest.approx(np.exp(20.0), rel=0.2)
    assert null.pval[-1] > 0.001


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(0.01, 100))
def test_units_do_not_matter(seed: int, score_unit: float, covariate_unit: float):
    score, covariates = exchangeable(150, seed)
    plain = matched_null_pvalues(score, covariates, n_null=40)
    scaled = matched_null_pvalues(score * score_unit, covariates * [covariate_unit, 1.0], n_null=40)
    np.testing.assert_allclose(scaled.pval, plain.pval, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(scaled.expected, plain.expected * score_unit, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.float64, 60, elements=st.sampled_from([0.0, 1e-300, 1.0, 1.0, 2.0, 1e6])),
    hnp.arrays(np.float64, (60, 2), elements=st.sampled_from([0.0, 0.0, 1.0, 1e9])),
)
def test_any_scores_and_covariates_give_probabilities(score: np.ndarray, covariates: np.ndarray):
    null = matched_null_pvalues(score, covariates, n_null=30)
    for values in null.pval, null.pval_rank:
        assert np.isfinite(values).all()
        assert ((values >= 0) & (values <= 1)).all()
    assert (null.pval_rank >= 1 / 31).all()
    assert np.isfinite(null.expected).all()


def test_equal_scores_are_unremarkable():
    null = matched_null_pvalues(np.full(50, 3.0), np.random.default_rng(0).normal(size=(50, 2)))
    np.testing.assert_allclose(null.pval, 0.5)
    np.testing.assert_allclose(null.expected, 3.0)
    np.testing.assert_array_equal(null.pval_rank, 1.0)


def test_a_larger_score_has_a_smaller_p_value():
    score, covariates = exchangeable(300)
    values = []
    for factor in (1, 2, 4, 8):
        raised = score.copy()
        raised[5] *= factor
        values.append(matched_null_pvalues(raised, covariates, targets=[5]))
    assert all(a.pval[0] > b.pval[0] for a, b in itertools.pairwise(values))
    # what is expected of a feature does not depend on it
    assert len({float(null.expected[0]) for null in values}) == 1


def test_targets_equal_the_whole():
    score, covariates = exchangeable(300)
    score[::7] = np.nan
    whole = matched_null_pvalues(score, covariates)
    assert np.isnan(whole.pval[::7]).all()
    part = matched_null_pvalues(score, covariates, targets=[1, 50, 204])
    np.testing.assert_allclose(part.pval, whole.pval[[1, 50, 204]])
    assert part.n_matched == whole.n_matched == 100


def test_too_few_to_compare_with():
    score, covariates = exchangeable(MIN_MATCHED)
    assert np.isnan(matched_null_pvalues(score, covariates).pval).all()
    score, covariates = exchangeable(MIN_MATCHED + 1)
    assert np.isfinite(matched_null_pvalues(score, covariates).pval).all()


def test_bad_input():
    score, covariates = exchangeable(50)
    with pytest.raises(ValueError, match="n_covariates"):
        matched_null_pvalues(score, covariates[:, 0])
    with pytest.raises(ValueError, match="negative"):
        matched_null_pvalues(-score, covariates)
    with pytest.raises(ValueError, match="every target must be eligible"):
        matched_null_pvalues(score, covariates, eligible=score > np.median(score), targets=np.arange(50))
    eligible = np.ones(50, bool)
    score[3] = np.nan
    with pytest.raises(ValueError, match="needs a score"):
        matched_null_pvalues(score, covariates, eligible=eligible)
    covariates[4] = np.inf
    with pytest.raises(ValueError, match="finite"):
        matched_null_pvalues(score, covariates, eligible=eligible)
