import numpy as np
import pytest
from scipy.optimize import nnls

from scwhatif.nn import combination_weights, prediction_moments
from scwhatif.nn._combine_predictions import PredictionMoments


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
                left = y[both, j] - predictions[a, both, j], y[both, j] - predictions[b, both, j]
                np.testing.assert_allclose(moments.residual[j, a, b], np.mean(left[0] * left[1]))
            left = y[rows, j] - predictions[a, rows, j]
            np.testing.assert_allclose(moments.residual_with_target[j, a], np.mean(left * y[rows, j]))
            assert moments.n_rows[j, a] == rows.sum()


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
        n_weights = (weights[j] > 0).sum()
        np.testing.assert_allclose(error[j], found * (200 + n_weights) / (200 - n_weights), rtol=1e-6)


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


def test_the_error_is_that_of_new_rows():
    """Weights of ten predictions from sixty rows: what is left in these rows is too small, what is told is not."""
    told, left, new = [], [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(4060, 3))
        predictions = y + rng.normal(size=(10, 4060, 3))
        moments = prediction_moments(predictions[:, :60], np.ones((10, 60), bool), y[:60], np.ones((60, 3), bool))
        weights, error = combination_weights(moments, np.ones(10, dtype=bool))
        residual = np.square(y - np.einsum("je,eij->ij", weights, predictions))
        told.append(error.mean())
        left.append(residual[:60].mean())
        new.append(residual[60:].mean())
    assert np.mean(left) < 0.85 * np.mean(new)
    assert np.mean(told) == pytest.approx(np.mean(new), rel=0.1)


def test_the_error_survives_rows_that_differ_between_predictions():
    """Good predictions, each missing in other rows: averages over these differ by more than the error."""
    rng = np.random.default_rng(0)
    y = 3 * rng.normal(size=(80, 60))
    predictions = y + 0.3 * rng.normal(size=(4, 80, 60))
    available = rng.random((4, 80)) < 0.6
    observed = np.ones(y.shape, dtype=bool)
    weights, error = combination_weights(
        prediction_moments(predictions, available, y, observed), np.ones(4, dtype=bool)
    )
    truth = np.square(1 - weights.sum(axis=1)) * 9 + 0.09 * np.square(weights).sum(axis=1)
    # the same from products of predictions is below 0 for nine in ten features
    assert (error > 0.3 * truth).mean() > 0.95
    assert error.mean() == pytest.approx(truth.mean(), rel=0.15)


def test_predictions_that_are_never_there_together_are_taken_to_err_alike():
    predictions, available, y, observed = draw()
    available[0, :100] = available[1, 100:] = False
    moments = prediction_moments(predictions, available, y, observed)
    np.testing.assert_allclose(moments.residual[:, 0, 1] ** 2, moments.residual[:, 0, 0] * moments.residual[:, 1, 1])


@pytest.mark.parametrize("others", [[0.9, 0.1, 0.9], [-0.9, -0.9, -0.9]])
def test_moments_that_no_data_could_have_give_bounded_weights(others):
    """Moments of pairs come from other rows each, and need not be those of any three predictions together."""
    ab, ac, bc = others
    among = np.array([[[1, ab, ac], [ab, 1, bc], [ac, bc, 1.0]]])
    assert np.linalg.eigvalsh(among[0])[0] < -0.2
    with_target = np.full((1, 3), 0.8)
    moments = PredictionMoments(
        among, with_target, np.ones(1), np.full((1, 3), 0.2), np.full((1, 3, 3), 0.3), np.full((1, 3), 50.0)
    )
    weights, error = combination_weights(moments, np.ones(3, bool))
    assert (weights >= 0).all()
    assert weights.sum() < 4
    assert 0 <= error[0] < 10


def test_repaired_moments_leave_sound_features_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 200, 1))
    y = 0.7 * x[0] + 0.3 * x[1] + 0.1 * rng.normal(size=(200, 1))
    sound = prediction_moments(x, np.ones((2, 200), bool), y, np.ones((200, 1), bool))
    alone, _ = combination_weights(sound, np.ones(2, bool))
    broken = np.array([[[1, -2.0], [-2.0, 1]]])
    both = PredictionMoments(
        np.concatenate([sound.among, broken]),
        *(
            np.concatenate([each, each])
            for each in (
                sound.with_target, sound.target, sound.residual_with_target, sound.residual, sound.n_rows,
            )
        ),
    )  # fmt: skip
    together, _ = combination_weights(both, np.ones(2, bool))
    # sweeps go on until all features have settled
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-6)
