"""Tests that signed effects are compared with their like: uniform under chance, small for what is planted."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.metrics import matched_null_pvalues, signed_null_pvalues


def simulate(seed: int, n: int = 1000) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    mean = 1.5 * rng.normal(size=n)
    detection = 1 / (1 + np.exp(-mean)) + 0.02 * rng.normal(size=n)
    return np.exp(0.9 * mean) * rng.normal(size=n), np.column_stack([mean, detection]), rng


@pytest.mark.parametrize("n_null", [50, 100, 300])
def test_uniform_under_chance(n_null: int):
    found = [signed_null_pvalues(*simulate(seed)[:2], n_null=n_null) for seed in range(5)]
    pval = np.concatenate([each.pval for each in found])
    rank = np.concatenate([each.pval_rank for each in found])
    for level, tolerance in ((0.5, 0.03), (0.2, 0.02), (0.05, 0.015), (0.01, 0.006)):
        assert (pval < level).mean() == pytest.approx(level, abs=tolerance)
    assert (rank <= 0.1).mean() == pytest.approx(0.1, abs=0.025)
    # unlike with the test for scores, which has no power here
    effect, covariates, _ = simulate(0)
    assert matched_null_pvalues(np.abs(effect), covariates).pval.min() > 0.01


def test_planted_effects_of_either_sign():
    effect, covariates, _ = simulate(3)
    scale = np.exp(0.9 * covariates[:, 0])
    effect[10], effect[20] = 8 * scale[10], -8 * scale[20]
    found = signed_null_pvalues(effect, covariates)
    assert set(np.argsort(found.pval)[:2]) == {10, 20}
    assert found.pval[[10, 20]].max() < 1e-6
    assert np.median(found.scale / scale) == pytest.approx(1, abs=0.1)


def test_what_all_do_makes_none_stand_out():
    _, covariates, rng = simulate(4)
    effect = np.exp(0.9 * covariates[:, 0] + 0.3 * rng.normal(size=len(covariates)))
    assert signed_null_pvalues(effect, covariates).pval.min() > 1e-3


def test_only_eligible_features_take_part():
    effect, covariates, _ = simulate(5, 300)
    eligible = np.arange(300) % 2 == 0
    found = signed_null_pvalues(np.where(eligible, effect, np.nan), covariates, n_null=50, eligible=eligible)
    alone = signed_null_pvalues(effect[eligible], covariates[eligible], n_null=50)
    np.testing.assert_allclose(found.pval[eligible], alone.pval)
    assert np.isnan(found.pval[~eligible]).all()


def test_too_few_to_compare_with_and_no_effect_at_all():
    effect, covariates, _ = simulate(6, 15)
    assert np.isnan(signed_null_pvalues(effect, covariates).pval).all()
    effect, covariates, _ = simulate(6, 100)
    idle = signed_null_pvalues(np.zeros(100), covariates)
    np.testing.assert_allclose(idle.pval, 1)
    with pytest.raises(ValueError, match="needs a score"):
        signed_null_pvalues(np.full(100, np.nan), covariates, eligible=np.ones(100, bool))
