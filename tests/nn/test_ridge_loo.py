import numpy as np
import pytest

from scwhatif.nn import cis_links, cis_ridge_loo, ridge_loo
from scwhatif.nn._ridge_loo import _CIS_PENALTIES, _PENALTIES


def draw(n_rows=24, n_regressors=5, n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, n_regressors)) + 1.0
    y = x @ rng.normal(size=(n_regressors, n_features)) + rng.normal(size=(n_rows, n_features)) * [0.1, 1.0, 10.0] + 2.0
    return x, y, np.ones(y.shape, dtype=bool)


class Ridge:
    """The textbook formula."""

    def __init__(self, x, y, alpha):
        self.x_mean, self.y_mean = x.mean(0), y.mean(0)
        centred = x - self.x_mean
        self.weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(x.shape[1]), centred.T @ (y - self.y_mean))

    def predict(self, x):
        return (x - self.x_mean) @ self.weights + self.y_mean


def refitted(x, y, penalties):
    """Leave-one-out predictions by fitting as often as there are rows, at the best penalty."""
    total = np.square(x - x.mean(0)).sum()
    best, chosen = np.inf, None
    for penalty in penalties:
        out = np.empty(len(y))
        for i in range(len(y)):
            kept = np.arange(len(y)) != i
            out[i] = Ridge(x[kept], y[kept], penalty * total).predict(x[i])
        if (error := np.square(y - out).sum()) < best:
            best, chosen = error, (out, Ridge(x, y, penalty * total))
    return chosen


@pytest.mark.parametrize("n_regressors", [5, 40])
def test_left_out_predictions_equal_refitting_without_each_row(n_regressors):
    x, y, observed = draw(n_regressors=n_regressors)
    fit = ridge_loo(x, y, observed)
    new = np.random.default_rng(1).normal(size=(4, n_regressors))
    for j in range(3):
        out, model = refitted(x, y[:, j], _PENALTIES)
        np.testing.assert_allclose(fit.left_out[:, j], out, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(fit.predict(new)[:, j], model.predict(new), rtol=1e-6, atol=1e-6)


def test_a_feature_that_is_noise_gets_a_larger_penalty():
    x, y, observed = draw(n_rows=100)
    y[:, 2] = np.random.default_rng(2).normal(size=100)
    fit = ridge_loo(x, y, observed)
    assert np.square(y - fit.left_out)[:, 0].sum() < 0.05 * np.square(y - y.mean(0))[:, 0].sum()
    assert np.abs(fit.basis @ fit.coefficients)[:, 2].max() < 0.05


def test_missing_entries_do_not_matter():
    x, y, observed = draw(n_rows=300)
    rng = np.random.default_rng(3)
    observed[:] = rng.random(y.shape) < 0.8
    fit = ridge_loo(x, np.where(observed, y, np.nan), observed)
    again = ridge_loo(x, np.where(observed, y, 1e6), observed)
    np.testing.assert_array_equal(fit.left_out, again.left_out)
    total = np.square(x - x.mean(0)).sum()
    for j in range(2):
        rows = observed[:, j]
        expected = Ridge(x[rows], y[rows, j], _PENALTIES[0] * total).predict(x)
        assert np.corrcoef(fit.predict(x)[:, j], expected)[0, 1] > 0.999


@pytest.mark.parametrize("n_regressors", [5, 30])
def test_left_out_predictions_with_missing_entries_are_as_good_as_refitting(n_regressors):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, n_regressors))
    y = x[:, :5] @ rng.normal(size=(5, 6)) + rng.normal(size=(60, 6))
    observed = rng.random(y.shape) < 0.85
    fit = ridge_loo(x, y, observed)
    total = np.square(x - x.mean(0)).sum()
    ratios = []
    for j in range(6):
        rows = observed[:, j]
        share = total / np.square(x[rows] - x[rows].mean(0)).sum()
        out, _ = refitted(x[rows], y[rows, j], _PENALTIES * share)
        ratios.append(np.square((y[:, j] - fit.left_out[:, j])[rows]).sum() / np.square(y[rows, j] - out).sum())
    # with the leverage of complete rows it is .89 for thirty regressors
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_rank_is_limited():
    x, y, observed = draw(n_regressors=10)
    fit = ridge_loo(x, y, observed, max_rank=3)
    assert fit.basis.shape == (10, 3)
    assert fit.coefficients.shape == (3, 3)


def test_regressors_without_variation_predict_the_mean():
    _, y, observed = draw()
    fit = ridge_loo(np.ones((24, 2)), y, observed)
    np.testing.assert_allclose(fit.predict(np.zeros((2, 2))), np.tile(y.mean(0), (2, 1)))


def test_cis_equals_refitting_without_each_row():
    x, y, observed = draw(n_regressors=4)
    links = cis_links(["A;B", "C", "none"], ["A", "B", "C", "D"]).numpy()
    fit = cis_ridge_loo(x, y, observed, links)
    for j, columns in enumerate([[0, 1], [2]]):
        out, model = refitted(x[:, columns], y[:, j], _CIS_PENALTIES)
        np.testing.assert_allclose(fit.left_out[:, j], out, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(fit.predict(x)[:, j], model.predict(x[:, columns]), rtol=1e-6, atol=1e-6)
    assert not fit.left_out[:, 2].any()
    assert not fit.predict(x)[:, 2].any()


def test_cis_uses_the_rows_where_the_feature_was_observed():
    x, y, observed = draw(n_regressors=4, n_rows=60)
    observed[::3, 0] = False
    links = np.array([[0, 1], [2, -1], [3, -1]])
    fit = cis_ridge_loo(x, np.where(observed, y, np.nan), observed, links)
    rows = observed[:, 0]
    out, model = refitted(x[rows][:, [0, 1]], y[rows, 0], _CIS_PENALTIES)
    np.testing.assert_allclose(fit.left_out[rows, 0], out, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fit.predict(x)[:, 0], model.predict(x[:, [0, 1]]), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fit.left_out[~rows, 0], model.predict(x[~rows][:, [0, 1]]), rtol=1e-6, atol=1e-6)


def test_cis_in_chunks_is_the_same(monkeypatch):
    x, y, observed = draw(n_regressors=4)
    links = np.array([[0, 1], [2, -1], [3, 0]])
    whole = cis_ridge_loo(x, y, observed, links)
    monkeypatch.setattr("scwhatif.nn._ridge_loo._CHUNK_ENTRIES", 1)
    np.testing.assert_allclose(cis_ridge_loo(x, y, observed, links).left_out, whole.left_out)
