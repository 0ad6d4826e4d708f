from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_squared_error, r2_score

from scwhatif.metrics import weighted_mse, weighted_r2


def tables(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    observed = rng.normal(size=(5, 30))
    return observed + 0.5 * rng.normal(size=(5, 30)), observed, rng.normal(size=30), rng.random((5, 30))


def test_equals_scikit_learn():
    predicted, observed, reference, weights = tables()
    errors = weighted_mse(predicted, observed, weights)
    shares = weighted_r2(predicted, observed, reference, weights=weights)
    for p in range(5):
        w = weights[p]
        assert errors[p] == pytest.approx(mean_squared_error(observed[p], predicted[p], sample_weight=w))
        deltas = observed[p] - reference, predicted[p] - reference
        assert shares[p] == pytest.approx(r2_score(*deltas, sample_weight=w))


def test_scale_of_weights_does_not_matter_and_one_row_serves_all():
    predicted, observed, reference, weights = tables()
    rows = np.arange(1.0, 6)[:, None]
    pd.testing.assert_series_equal(
        weighted_mse(predicted, observed, weights), weighted_mse(predicted, observed, weights * rows)
    )
    np.testing.assert_allclose(
        weighted_mse(predicted, observed, np.ones(30)), np.square(predicted - observed).mean(axis=1)
    )
    one = weighted_r2(predicted, observed, reference, weights=weights[0])
    pd.testing.assert_series_equal(one, weighted_r2(predicted, observed, reference, weights=weights[[0] * 5]))


def test_unchanged_genes_do_not_hide_changed_ones():
    observed = np.zeros((1, 1000))
    observed[0, :5] = 2.0
    plain = weighted_mse(np.zeros((1, 1000)), observed, np.ones(1000))
    weighted = weighted_mse(np.zeros((1, 1000)), observed, observed)
    assert plain[0] == pytest.approx(0.02)
    assert weighted[0] == pytest.approx(4)


def test_the_reference_scores_zero_or_less_and_the_truth_one():
    _, observed, reference, weights = tables()
    nothing = weighted_r2(np.tile(reference, (5, 1)), observed, reference, weights=weights)
    assert (nothing <= 0).all()
    assert (weighted_r2(observed, observed, reference, weights=weights) == 1).all()


def test_an_effect_alike_in_all_genes():
    observed, reference = np.full((2, 4), 3.0), np.full(4, 1.0)
    predicted = np.array([[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 2.0]])
    assert weighted_r2(predicted, observed, reference, weights=np.ones(4)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("weights", [-np.ones(30), np.zeros(30)])
def test_bad_weights(weights: np.ndarray):
    predicted, observed, reference, _ = tables()
    with pytest.raises(ValueError, match="weights must not be negative, and those of a perturbation not all 0"):
        weighted_mse(predicted, observed, weights)
    with pytest.raises(ValueError, match="weights must not be negative"):
        weighted_r2(predicted, observed, reference, weights=weights)


def test_weights_are_matched_by_name():
    predicted, observed, _, weights = (pd.DataFrame(each) if each.ndim == 2 else each for each in tables())
    expected = weighted_mse(predicted, observed, weights)
    pd.testing.assert_series_equal(weighted_mse(predicted, observed, weights.iloc[::-1, ::-1]), expected)
    with pytest.raises(ValueError, match=r"weights lacks 1 perturbation\(s\): 4"):
        weighted_mse(predicted, observed, weights.iloc[:4])
