"""Scaled counts follow the distribution they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scwhatif.pp._scale_counts import RatePrior, enlarge, gene_prior, put_back, thin

N = 40_000
MU, THETA = 4.0, 2.5


def nb(mu: float, theta: float):
    return stats.nbinom(theta, theta / (theta + mu))


def assert_distributed(counts: np.ndarray, distribution, extra_zeros: float = 0.0) -> None:
    """Chi-squared test against a discrete distribution, the tail pooled."""
    top = int(distribution.ppf(1 - 20 / len(counts)))
    p = distribution.pmf(np.arange(top))
    p = (1 - extra_zeros) * np.append(p, 1 - p.sum())
    p[0] += extra_zeros
    observed = np.bincount(np.minimum(counts, top), minlength=top + 1)
    assert stats.chisquare(observed, p * len(counts)).pvalue > 1e-3


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return nb(MU, THETA).rvs(N, random_state=np.random.default_rng(0)).astype(np.int64)


def prior(theta: float = THETA, dropout: float | None = None) -> RatePrior:
    return RatePrior(np.full(N, MU), theta, None if dropout is None else np.full(N, dropout))


def test_thinned_negative_binomial_keeps_its_dispersion(counts: np.ndarray):
    thinned = thin(counts, 0.3, np.random.default_rng(1))
    assert (thinned <= counts).all()
    assert_distributed(thinned, nb(0.3 * MU, THETA))


def test_thinning_composes(counts: np.ndarray):
    once = thin(thin(counts, 0.5, np.random.default_rng(1)), 0.4, np.random.default_rng(2))
    assert_distributed(once, nb(0.2 * MU, THETA))


def test_count_as_rate(counts: np.ndarray):
    enlarged = enlarge(counts, 2.5, np.random.default_rng(1))
    assert (enlarged >= counts).all()
    np.testing.assert_array_equal(enlarged == 0, counts == 0)
    extra = enlarged - counts
    assert abs((extra - 1.5 * counts).sum()) < 3 * np.sqrt(1.5 * counts.sum())
    # given the count, what is added is Poisson
    for count in (1, 4):
        assert_distributed(extra[counts == count], stats.poisson(1.5 * count))


@pytest.mark.parametrize("factor", [1.5, 6.0])
def test_enlarged_negative_binomial_keeps_its_dispersion(counts: np.ndarray, factor: float):
    enlarged = enlarge(counts, factor, np.random.default_rng(1), prior())
    assert (enlarged >= counts).all()
    assert_distributed(enlarged, nb(factor * MU, THETA))
    # the inverse of thinning, so thinning undoes it
    assert_distributed(thin(enlarged, 1 / factor, np.random.default_rng(2)), nb(MU, THETA))


def test_enlarging_composes(counts: np.ndarray):
    twice = enlarge(counts, 2.0, np.random.default_rng(1), prior())
    again = enlarge(twice, 2.0, np.random.default_rng(2), RatePrior(np.full(N, 2 * MU), THETA))
    assert_distributed(again, nb(4 * MU, THETA))


def test_dropout_stays_dropout(counts: np.ndarray):
    dropped = counts * (np.random.default_rng(3).random(N) >= 0.4)
    enlarged = enlarge(dropped, 3.0, np.random.default_rng(1), prior(dropout=0.4))
    assert_distributed(enlarged, nb(3 * MU, THETA), extra_zeros=0.4)


def test_a_known_rate_gives_poisson():
    counts = np.random.default_rng(0).poisson(MU, N)
    assert_distributed(enlarge(counts, 2.0, np.random.default_rng(1), prior(np.inf)), stats.poisson(2 * MU))


def test_dispersion_by_cell():
    theta = np.where(np.arange(N) % 2, np.inf, THETA)
    rng = np.random.default_rng(0)
    counts = np.where(np.isinf(theta), rng.poisson(MU, N), nb(MU, THETA).rvs(N, random_state=rng))
    enlarged = enlarge(counts, 2.0, np.random.default_rng(1), RatePrior(np.full(N, MU), theta))
    assert_distributed(enlarged[1::2], stats.poisson(2 * MU))
    assert_distributed(enlarged[::2], nb(2 * MU, THETA))


def test_what_is_put_back(counts: np.ndarray):
    lowered = thin(counts, 1 / 4, np.random.default_rng(1))
    half = put_back(lowered, counts, 2.0, 4.0, np.random.default_rng(2))
    assert ((lowered <= half) & (half <= counts)).all()
    assert_distributed(half, nb(MU / 2, THETA))
    np.testing.assert_array_equal(put_back(lowered, counts, 4.0, 4.0, np.random.default_rng(2)), counts)


def test_gene_prior_finds_share_and_dispersion():
    rng = np.random.default_rng(0)
    library = np.exp(rng.normal(8, 0.4, N))
    counts = nb(0.002 * library, THETA).rvs(N, random_state=rng).astype(np.int64)
    fitted = gene_prior(counts, library)
    np.testing.assert_allclose(fitted.mean, 0.002 * library, rtol=0.02)
    assert fitted.inverse_dispersion == pytest.approx(THETA, rel=0.1)
    assert gene_prior(counts, library, 7.0).inverse_dispersion == 7.0
    assert gene_prior(rng.poisson(0.002 * library), library * 0 + 1, 1e9).mean[0] == pytest.approx(
        (0.002 * library).mean(), rel=0.02
    )


@given(counts=st.lists(st.integers(0, 40), min_size=2, max_size=30), theta=st.floats(0.05, 50), seed=st.integers(0, 99))
@settings(deadline=None)
def test_expected_rates_add_up_to_the_counts(counts: list[int], theta: float, seed: int):
    x = np.array(counts)
    if x.sum() == 0:
        assert gene_prior(x, np.ones(len(x)), theta).mean.max() == 0
        return
    fitted = gene_prior(x, np.random.default_rng(seed).uniform(1, 9, len(x)), theta)
    expected = fitted.mean * (theta + x) / (theta + fitted.mean)
    assert expected.sum() == pytest.approx(x.sum(), rel=1e-6)


def test_counts_with_less_than_poisson_variance_have_a_known_rate():
    assert gene_prior(np.full(50, 3), np.ones(50)).inverse_dispersion == np.inf


@given(
    counts=st.lists(st.integers(0, 1000), max_size=20),
    probability=st.floats(0, 1),
    factor=st.floats(1, 1000),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_bounds(counts: list[int], probability: float, factor: float, seed: int):
    x = np.array(counts, dtype=np.int64)
    thinned = thin(x, probability, np.random.default_rng(seed))
    assert thinned.dtype == np.int64
    assert ((thinned >= 0) & (thinned <= x)).all()
    enlarged = enlarge(x, factor, np.random.default_rng(seed))
    assert (enlarged >= x).all()
    assert (enlarged[x == 0] == 0).all()


def test_input_is_left_alone(counts: np.ndarray):
    before = counts.copy()
    thin(counts, 0.5, np.random.default_rng(0))
    enlarge(counts, 2.0, np.random.default_rng(0))
    enlarge(counts, 2.0, np.random.default_rng(0), prior())
    np.testing.assert_array_equal(counts, before)


def test_more_than_can_be_counted():
    with pytest.raises(OverflowError):
        enlarge(np.array([10]), 1e16, np.random.default_rng(0))
    with pytest.raises(OverflowError):
        enlarge(np.array([0]), 1e16, np.random.default_rng(0), RatePrior(np.array([10.0]), 1.0))
