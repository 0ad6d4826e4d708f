"""The interval against its formula, and its coverage where the true score is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from scwhatif.metrics import nadeau_bengio_interval


def naive(scores: list[float], n_train: float, n_test: float, confidence: float) -> tuple[float, float]:
    n = len(scores)
    factor = t.ppf(0.5 + confidence / 2, n - 1) * np.sqrt(1 / n + n_test / n_train)
    return np.mean(scores) - factor * np.std(scores, ddof=1), np.mean(scores) + factor * np.std(scores, ddof=1)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_equals_the_formula(confidence: float):
    scores = np.random.default_rng(0).normal(size=(3, 4, 5))
    mean, low, high = nadeau_bengio_interval(scores, n_train=80, n_test=20, confidence=confidence)
    assert mean.shape == low.shape == high.shape == (3, 4)
    np.testing.assert_allclose(mean, scores.mean(axis=-1))
    np.testing.assert_allclose((low[1, 2], high[1, 2]), naive(list(scores[1, 2]), 80, 20, confidence))


def test_the_factor_of_five_folds():
    """.67 standard deviations for five folds, where the usual standard error is .45."""
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    interval = nadeau_bengio_interval(scores, n_train=4, n_test=1)
    factor = (interval.high - interval.mean) / scores.std(ddof=1) / t.ppf(0.975, 4)
    assert factor == pytest.approx(0.67, abs=0.005)


def test_sizes_by_fold_and_folds_without_a_score():
    scores = [0.2, np.nan, 0.4, 0.3]
    found = nadeau_bengio_interval(scores, n_train=[80, 1, 80, 80], n_test=[20, 1, 20, 20])
    np.testing.assert_allclose(found, (0.3, *naive([0.2, 0.4, 0.3], 80, 20, 0.95)))


def test_one_fold_has_no_interval():
    mean, low, high = nadeau_bengio_interval([[0.5, np.nan], [np.nan, np.nan]], n_train=1, n_test=1)
    np.testing.assert_array_equal(mean, [0.5, np.nan])
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confidence": 1.0}, "confidence=1.0"),
        ({"n_train": 0}, "n_train must be above 0"),
        ({"n_test": [1, 2]}, "n_test must be above 0, a single number or one for each of the 3"),
        ({"scores": 0.5}, "one value per fold"),
    ],
)
def test_bad_input(arguments: dict, message: str):
    given = {"scores": [0.1, 0.2, 0.3], "n_train": 8, "n_test": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        nadeau_bengio_interval(given.pop("scores"), **given)


@pytest.mark.slow
def test_coverage_where_the_truth_is_known():
    """R² of a regression fitted to 160 samples, from 200 data sets of 200 samples, five folds each."""
    rng = np.random.default_rng(0)
    n, n_features, n_sets = 200, 10, 200
    weights = rng.normal(size=n_features) / np.sqrt(n_features)

    def draw(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(n_rows, n_features))
        return x, x @ weights + rng.normal(size=n_rows)

    def r2(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
        error = np.square(test[1] - LinearRegression().fit(*train).predict(test[0])).sum()
        return float(1 - error / np.square(test[1] - train[1].mean()).sum())

    # of folds of this size, which a small test set biases a little
    truth = np.mean([r2(draw(160), draw(40)) for _ in range(4000)])
    scores = np.empty((n_sets, 5))
    for each in range(n_sets):
        x, y = draw(n)
        folds = KFold(5, shuffle=True, random_state=each).split(x)
        scores[each] = [r2((x[train], y[train]), (x[test], y[test])) for train, test in folds]
    interval = nadeau_bengio_interval(scores, n_train=160, n_test=40)
    covered = ((interval.low <= truth) & (truth <= interval.high)).mean()
    naive_half = t.ppf(0.975, 4) * scores.std(axis=1, ddof=1) / np.sqrt(5)
    naive_covered = (np.abs(scores.mean(axis=1) - truth) <= naive_half).mean()
    print(f"coverage {covered:.3f}, of the naive interval {naive_covered:.3f}")
    assert 0.90 <= covered <= 0.995
    assert naive_covered < covered
