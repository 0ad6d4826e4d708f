import numpy as np
from scipy.optimize import nnls

from scwhatif.nn import combination_weights, prediction_moments


def draw(n_rows=200, n_features=4, n_predictions=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n_rows, n_features))
    predictions = (
        0.5 * y + rng.normal(size=(n_predictions, n_rows, n_features)) * np.array([0.3, 0.6, 3.0])[:, None, None]
    )
    return predictions, np.ones((n_predictions, n_rows), dtype=bool), y, rng.random(y.shape) < 0.9


def test_moments_equal_loops():
    predictions, available, y, observed = draw()
    available[1, :50] = available[2, 30:90] = False
    moments = prediction_moments(predictions, available, np.where(observed, y, np.nan), observed)
    for j in range(4):
        np.testing.assert_allclose(moments.target[j], np.mean(y[observed[:, j], j] ** 2))
        for a in range(3):
            rows = observed[:, j] & available[a]
            np.testing.assert_allclose(moments.with_target[j, a], np.mean(predictions[a, rows, j] * y[rows, j]))
            for b in range(3):
                both = rows & available[b]
                product = predictions[a, both, j] * predictions[b, both, j]
                np.testing.assert_allclose(moments.among[j, a, b], np.mean(product))


def test_what_stands_where_nothing_is_available_does_not_matter():
    predictions, available, y, observed = draw()
    available[0, :20] = False
    clean = prediction_moments(predictions, available, y, observed)
    predictions[0, :20] = np.nan
    dirty = prediction_moments(predictions, available, y, observed)
    np.testing.assert_array_equal(clean.among, dirty.among)
    np.testing.assert_array_equal(clean.with_target, dirty.with_target)


def test_weights_are_non_negative_least_squares():
    predictions, available, y, _ = draw()
    predictions[2] = -predictions[2]
    moments = prediction_moments(predictions, available, y, np.ones(y.shape, dtype=bool))
    weights, error = combination_weights(moments, np.ones(3, dtype=bool))
    for j in range(4):
        wanted, _ = nnls(predictions[:, :, j].T, y[:, j])
        np.testing.assert_allclose(weights[j], wanted, atol=5e-3)
        found = np.mean((y[:, j] - predictions[:, :, j].T @ weights[j]) ** 2)
        np.testing.assert_allclose(error[j], found, rtol=1e-6)


def test_only_what_is_available_is_used_and_more_is_never_worse():
    moments = prediction_moments(*draw())
    nothing, error_of_nothing = combination_weights(moments, np.zeros(3, dtype=bool))
    assert not nothing.any()
    np.testing.assert_allclose(error_of_nothing, moments.target)
    one, error_of_one = combination_weights(moments, np.array([True, False, False]))
    assert not one[:, 1:].any()
    _, error_of_all = combination_weights(moments, np.ones(3, dtype=bool))
    assert (error_of_one < error_of_nothing).all()
    assert (error_of_all <= error_of_one + 1e-6).all()


def test_a_prediction_that_is_zero_gets_no_weight():
    predictions, available, y, observed = draw()
    predictions[1] = 0.0
    weights, _ = combination_weights(prediction_moments(predictions, available, y, observed), np.ones(3, dtype=bool))
    assert not weights[:, 1].any()
    assert np.isfinite(weights).all()
