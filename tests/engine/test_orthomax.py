import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scwhatif.engine import orthomax


def _criterion(loadings, gamma):
    return (loadings**4).sum() - gamma / len(loadings) * ((loadings**2).sum(0) ** 2).sum()


def _sparse(rng, n_features=300, n_dims=4):
    return rng.laplace(size=(n_features, n_dims)) * (rng.random((n_features, n_dims)) < 0.2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), gamma=st.sampled_from([0.0, 1.0]))
def test_rotation_is_orthogonal_and_raises_the_criterion(seed, gamma):
    rng = np.random.default_rng(seed)
    loadings = _sparse(rng) @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    rotation = orthomax(loadings, gamma=gamma)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(4), atol=1e-10)
    assert _criterion(loadings @ rotation, gamma) >= _criterion(loadings, gamma) - 1e-9


def test_sparse_loadings_are_recovered_from_any_rotation():
    rng = np.random.default_rng(0)
    planted = _sparse(rng)
    mixed = planted @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    found = mixed @ orthomax(mixed)
    correlation = np.abs(np.corrcoef(found.T, planted.T)[:4, 4:])
    assert correlation.max(axis=0).min() > 0.98


def test_no_rotation_of_two_columns_does_better():
    rng = np.random.default_rng(1)
    loadings = _sparse(rng, n_dims=2)
    best = _criterion(loadings @ orthomax(loadings), 1.0)
    angles = np.linspace(0, np.pi, 721)
    tried = [_criterion(loadings @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]), 1.0) for a in angles]
    assert best >= max(tried) - 1e-6
