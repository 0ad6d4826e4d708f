"""Means over models and samples."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t

from scwhatif.metrics import nadeau_bengio_interval
from scwhatif.tl._storm_interval import FoldEffects, table_of


def folds(*rows):
    model = SimpleNamespace(train_indices=np.arange(6), validation_indices=np.arange(2))
    return [SimpleNamespace(model=model, rows=np.asarray(r)) for r in rows]


def test_samples_are_averaged_over_models_first():
    effects = FoldEffects(folds([0, 1], [1, 2]), 4)
    effects.add(np.array([[1.0, np.nan], [3.0, 4.0]]))
    effects.add(np.array([[5.0, np.nan], [7.0, np.nan]]))
    np.testing.assert_array_equal(effects.by_sample(), [[1, np.nan], [4, 4], [7, np.nan], [np.nan, np.nan]])
    found = effects.interval()
    np.testing.assert_allclose(found.effect, [4, 4])
    assert found.n_models.tolist() == [2, 1]


def test_interval_over_models_is_that_of_nadeau_and_bengio():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(4, 2)) for _ in range(3)]
    effects = FoldEffects(folds(range(4), range(4, 8), range(8, 12)), 12)
    for block in blocks:
        effects.add(block)
    found = effects.interval()
    means = np.stack([block.mean(axis=0) for block in blocks], axis=1)
    wanted = nadeau_bengio_interval(means, n_train=8, n_test=4)
    for name, value in (("effect", wanted.mean), ("low", wanted.low), ("high", wanted.high)):
        np.testing.assert_allclose(getattr(found, name), value)
    np.testing.assert_allclose(found.se, np.sqrt(1 / 3 + 4 / 8) * means.std(axis=1, ddof=1))


def test_a_single_model_has_the_interval_of_its_samples():
    values = np.random.default_rng(0).normal(size=(9, 1))
    effects = FoldEffects(folds(range(9)), 9)
    effects.add(values)
    found = effects.interval()
    half = t.ppf(0.975, 8) * values.std(ddof=1) / 3
    assert found.high[0] - found.effect[0] == pytest.approx(half)
    single = FoldEffects(folds([0]), 1)
    single.add(np.array([[2.0]]))
    assert np.isnan(single.interval().se[0])


def test_the_largest_effect_is_first():
    table = table_of(["a", "b", "c"], {"effect": np.array([0.1, np.nan, 0.5])})
    assert table["driver"].tolist() == ["c", "a", "b"]


def test_independent_errors_add_up():
    values = np.random.default_rng(0).normal(size=(9, 2))
    effects = FoldEffects(folds(range(9)), 9)
    effects.add(values)
    alone = effects.interval()
    both = alone.widened(np.array([0.0, 0.5]), np.array([20.0, 20.0]))
    np.testing.assert_allclose([both.low[0], both.high[0]], [alone.low[0], alone.high[0]])
    assert both.se[1] == pytest.approx(np.hypot(alone.se[1], 0.5))
    freedom = both.se[1] ** 4 / (alone.se[1] ** 4 / 8 + 0.5**4 / 20)
    assert both.high[1] - both.effect[1] == pytest.approx(t.ppf(0.975, freedom) * both.se[1])
    assert list(both.columns()) == ["effect", "se", "low", "high"]
