"""Counts of one gene made smaller or larger at random, so that they stay counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Log of the largest factor by which a gene's fitted mean can differ from its pooled one.
_REACH = 30.0
# From here on not every integer is a float64.
_COUNTABLE = 2.0**53


class RatePrior(NamedTuple):
    """What is expected of a gene before its counts are seen: rates that are gamma-distributed, counts Poisson of them.

    Counts are then negative binomial. ``mean`` and ``dropout`` hold one value per cell, ``inverse_dispersion`` one per
    cell or one for all; it is infinite where the rate is known exactly. ``dropout`` is the probability that a cell
    loses the gene whatever its rate, ``None`` if that does not happen.
    """

    mean: NDArray[np.float64]
    inverse_dispersion: NDArray[np.float64] | float
    dropout: NDArray[np.float64] | None = None


def thin(counts: NDArray[np.int64], probability: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Keep each molecule with a probability; zeros draw nothing."""
    thinned = np.zeros_like(counts)
    drawn = np.flatnonzero(counts)
    thinned[drawn] = rng.binomial(counts[drawn], probability)
    return thinned


def enlarge(
    counts: NDArray[np.int64], factor: float, rng: np.random.Generator, prior: RatePrior | None = None
) -> NDArray[np.int64]:
    """Add molecules to reach ``factor`` times the expectation; without a prior, the count itself is the rate.

    Raises ``OverflowError`` with the largest expectation if that is more than a float can count.
    """
    largest = factor * float(counts.max(initial=0) if prior is None else prior.mean.max(initial=0))
    if largest > _COUNTABLE:
        raise OverflowError(largest)
    if prior is None:
        drawn = np.flatnonzero(counts)
        enlarged = counts.copy()
        enlarged[drawn] += rng.poisson((factor - 1) * counts[drawn])
        return enlarged
    return counts + rng.poisson((factor - 1) * _draw_rates(counts, prior, rng))


def put_back(
    lowered: NDArray[np.int64], base: NDArray[np.int64], factor: float, headroom: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return molecules to counts that were thinned by ``1 / headroom``, to ``factor`` times their expectation."""
    return lowered + thin(base - lowered, (factor - 1) / (headroom - 1), rng)


def gene_prior(
    counts: NDArray[np.int64], library: NDArray[np.float64], inverse_dispersion: float | None = None
) -> RatePrior:
    """Fit one share of the library to all cells by maximum likelihood, so that rates add up to the counts.

    An inverse dispersion that is not given is estimated from the variance around the pooled share.
    """
    from scipy.optimize import brentq

    total = counts.sum()
    if total == 0:
        return RatePrior(np.zeros(len(counts)), np.inf)
    pooled = total / library.sum()
    mean = library * pooled
    if inverse_dispersion is None:
        excess = (np.square(counts - mean) - mean).sum()
        inverse_dispersion = float(np.square(mean).sum() / excess) if excess > 0 else np.inf
    if np.isinf(inverse_dispersion):
        return RatePrior(mean, np.inf)

    def score(shift: float) -> float:
        shifted = mean * np.exp(shift)
        return float(((counts - shifted) * inverse_dispersion / (inverse_dispersion + shifted)).sum())

    return RatePrior(mean * np.exp(brentq(score, -_REACH, _REACH)), inverse_dispersion)


def _draw_rates(counts: NDArray[np.int64], prior: RatePrior, rng: np.random.Generator) -> NDArray[np.float64]:
    """Rates given the counts; a cell that dropped the gene has none."""
    mean, theta = prior.mean, np.broadcast_to(prior.inverse_dispersion, prior.mean.shape)
    known = np.isinf(theta)
    finite = np.where(known, 1.0, theta)
    rates = np.where(known, mean, rng.gamma(finite + counts, mean / (finite + mean)))
    if prior.dropout is not None:
        zero = np.where(known, np.exp(-mean), np.exp(-finite * np.log1p(mean / finite)))
        dropped = prior.dropout / (prior.dropout + (1 - prior.dropout) * zero)
        rates[(counts == 0) & (rng.random(len(counts)) < dropped)] = 0.0
    return rates
