import numpy as np
import pytest

from scwhatif.engine import loading_rotation


def _mixed(seed=0, n_dims=4):
    rng = np.random.default_rng(seed)
    planted = rng.laplace(size=(400, n_dims)) * (rng.random((400, n_dims)) < 0.2)
    return planted, planted @ np.linalg.qr(rng.normal(size=(n_dims, n_dims)))[0]


@pytest.mark.parametrize("method", ["varimax", "quartimax", "ica"])
def test_every_method_is_orthogonal_and_finds_sparse_loadings(method):
    planted, mixed = _mixed()
    rotation = loading_rotation(mixed, method)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(4), atol=1e-8)
    correlation = np.abs(np.corrcoef((mixed @ rotation).T, planted.T)[:4, 4:])
    assert correlation.max(axis=0).min() > 0.97


def test_inactive_dimensions_stay_where_they_are():
    _, mixed = _mixed()
    active = np.array([True, False, True, True])
    rotation = loading_rotation(mixed, active=active)
    np.testing.assert_array_equal(rotation[1], [0, 1, 0, 0])
    np.testing.assert_array_equal(rotation[:, 1], [0, 1, 0, 0])
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(4), atol=1e-8)


def test_one_active_dimension_needs_no_rotation():
    _, mixed = _mixed()
    np.testing.assert_array_equal(loading_rotation(mixed, active=np.array([True, False, False, False])), np.eye(4))


@pytest.mark.parametrize(
    ("loadings", "method", "message"),
    [(np.ones((5, 2)), "promax", "not one of"), (np.full((5, 2), np.nan), "varimax", "NaN or infinite")],
)
def test_bad_requests_are_refused(loadings, method, message):
    with pytest.raises(ValueError, match=message):
        loading_rotation(loadings, method)
