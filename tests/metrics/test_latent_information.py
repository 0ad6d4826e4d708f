from __future__ import annotations

import math

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.metrics._latent_information import _log_mixture, _stratified_normal, gaussian_kl


def by_quadrature(mean: np.ndarray, var: np.ndarray) -> float:
    """Entropy of the mixture minus the mean entropy of its components, on a fine grid."""
    grid = np.linspace((mean - 8 * np.sqrt(var)).min(), (mean + 8 * np.sqrt(var)).max(), 20001)
    density = np.mean(
        [np.exp(-0.5 * (grid - m) ** 2 / v) / math.sqrt(2 * math.pi * v) for m, v in zip(mean, var, strict=True)],
        axis=0,
    )
    inside = np.where(density > 0, density * np.log(np.where(density > 0, density, 1)), 0)
    entropy = -inside.sum() * (grid[1] - grid[0])
    return entropy - np.mean(0.5 * np.log(2 * math.pi * math.e * var))


def posteriors(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    mean = np.column_stack(
        [rng.normal(size=n), rng.choice([-3.0, 3.0], n), np.full(n, 2.0), rng.exponential(size=n), rng.normal(size=n)]
    )
    var = rng.uniform(0.05, 0.5, mean.shape)
    mean[:, 4] *= 0.01
    var[:, 4] = 1.0
    return mean, var


def test_equals_quadrature():
    mean, var = posteriors(400)
    found = np.mean([wi.metrics.latent_information(mean, var, seed=seed) for seed in range(5)], axis=0)
    expected = [by_quadrature(mean[:, j], var[:, j]) for j in range(5)]
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert expected[4] < 1e-3 < math.log(2) / 2 < expected[1]


def test_gaussian_channel():
    """Means N(0, 1 - v) with noise v: the information is -log(v) / 2, the aggregate posterior is the prior."""
    mean = np.random.default_rng(0).normal(size=(3000, 1)) * math.sqrt(0.9)
    found = wi.metrics.latent_information(mean, np.full(mean.shape, 0.1), n_mixture=3000)
    assert found[0] == pytest.approx(-0.5 * math.log(0.1), abs=0.03)


def test_what_all_cells_share_is_no_information():
    mean, var = np.full((50, 1), 3.0), np.full((50, 1), 0.2)
    assert wi.metrics.latent_information(mean, var)[0] == pytest.approx(0, abs=0.02)
    assert gaussian_kl(mean, var).mean() > 4


def test_cannot_exceed_the_number_of_cells():
    mean = np.linspace(-100, 100, 40)[:, None]
    found = wi.metrics.latent_information(mean, np.full((40, 1), 1e-4))
    assert found[0] == pytest.approx(math.log(40), abs=0.02)


def test_subsets_agree_with_all_cells_and_seeds_repeat():
    mean, var = posteriors(3000)
    every = wi.metrics.latent_information(mean, var, n_mixture=3000)
    some = wi.metrics.latent_information(mean, var, n_mixture=800, seed=3)
    np.testing.assert_allclose(some, every, atol=0.07)
    np.testing.assert_array_equal(some, wi.metrics.latent_information(mean, var, n_mixture=800, seed=3))
    assert not np.array_equal(some, wi.metrics.latent_information(mean, var, n_mixture=800, seed=4))


def test_mixture_equals_a_double_loop(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    z, mean, var = rng.normal(size=7), rng.normal(size=7), rng.uniform(0.1, 1, 7)
    expected = [
        math.log(sum(math.exp(-0.5 * (a - m) ** 2 / v) / math.sqrt(v) for m, v in zip(mean, var, strict=True)) / 7)
        for a in z
    ]
    np.testing.assert_allclose(_log_mixture(z, mean, var), expected, rtol=1e-12)
    monkeypatch.setattr("scwhatif.metrics._latent_information._BLOCK_ENTRIES", 14)
    np.testing.assert_allclose(_log_mixture(z, mean, var), expected, rtol=1e-12)


def test_stratified_draws_are_one_per_interval():
    from scipy.stats import norm

    draws = _stratified_normal((50, 3), np.random.default_rng(0))
    intervals = np.floor(norm.cdf(draws) * 50)
    np.testing.assert_array_equal(np.sort(intervals, axis=0), np.tile(np.arange(50)[:, None], 3))
    assert not np.array_equal(intervals[:, 0], intervals[:, 1])


@pytest.mark.parametrize(
    ("mean", "var", "message"),
    [
        (np.zeros(3), np.ones(3), r"shape \(n_cells, n_dims\)"),
        (np.zeros((3, 2)), np.ones((3, 1)), r"\(3, 2\) and \(3, 1\)"),
        (np.zeros((0, 2)), np.ones((0, 2)), r"\(0, 2\)"),
        (np.full((3, 1), np.nan), np.ones((3, 1)), "diverged"),
        (np.zeros((3, 1)), np.zeros((3, 1)), "smallest is 0"),
    ],
)
def test_bad_input(mean: np.ndarray, var: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        wi.metrics.latent_information(mean, var)


def test_bad_mixture():
    with pytest.raises(ValueError, match="n_mixture=1"):
        wi.metrics.latent_information(np.zeros((3, 1)), np.ones((3, 1)), n_mixture=1)
