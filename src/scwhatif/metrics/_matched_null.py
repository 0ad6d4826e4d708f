"""Whether a feature's score stands out among features that look like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# With fewer matched features, neither a local trend nor its scatter can be estimated.
MIN_MATCHED = 20
# Features per block of the batched regressions.
_BLOCK = 2048
# Huber's and Tukey's tuning constants for 95 % efficiency; Huber steps lead Tukey's, which redescend, to a good start.
_HUBER, _TUKEY = 1.345, 4.685
_HUBER_STEPS, _TUKEY_STEPS = 4, 8
_MAD_TO_SD = 1.4826
# Against normal scatter, the robust scale is worth this share of the degrees of freedom; p-values are then right to a
# few percent down to 1e-3 for 20 to 100 matches (measured, see the tests).
_EFFICIENCY = 0.8


@dataclass(frozen=True, eq=False)
class MatchedNull:
    """Result of :func:`matched_null_pvalues`; every array has one entry per target, NaN where it was not tested.

    Parameters
    ----------
    pval
        One-sided p-value of the studentised residual.
    pval_rank
        p-value from its rank among those of the matched features.
    expected
        Score expected from the matched features.
    n_matched
        Number of matched features.
    """

    pval: NDArray[np.float64]
    pval_rank: NDArray[np.float64]
    expected: NDArray[np.float64]
    n_matched: int


def matched_neighbours(
    covariates: ArrayLike, eligible: ArrayLike, targets: ArrayLike, n_null: int = 100
) -> NDArray[np.int64]:
    """Find the features that are most alike.

    Parameters
    ----------
    covariates
        ``(n_features, n_covariates)``; distances are Euclidean after each has been scaled to unit variance over the
        eligible features.
    eligible
        Features that may be matched, ``(n_features,)``, bool.
    targets
        Indices of the features to find matches for, all of them eligible.
    n_null
        Number of matches; all other eligible features where there are fewer.

    Returns
    -------
    Indices of the matches, nearest first, ``(n_targets, n_matched)``. A feature never matches itself.

    Raises
    ------
    ValueError
        A target is not eligible, or covariates of an eligible feature are not finite.

    Examples
    --------
    >>> matched_neighbours([[0.0], [1.0], [5.0], [5.5]], [True, True, True, True], [0, 3], n_null=1)
    array([[1],
           [2]])
    """
    from scipy.spatial import cKDTree

    values = np.asarray(covariates, dtype=np.float64)
    pool = np.flatnonzero(np.asarray(eligible, dtype=bool))
    wanted = np.asarray(targets, dtype=np.int64)
    if not np.isin(wanted, pool).all():
        msg = "every target must be eligible."
        raise ValueError(msg)
    if not np.isfinite(values[pool]).all():
        msg = "covariates of eligible features must be finite."
        raise ValueError(msg)
    k = min(n_null, len(pool) - 1)
    if k < 1 or not len(wanted):
        return np.zeros((len(wanted), max(k, 0)), dtype=np.int64)
    spread = values[pool].std(axis=0)
    scaled = values / np.where(spread > 0, spread, 1)
    near = pool[cKDTree(scaled[pool]).query(scaled[wanted], k=k + 1)[1]]
    # a feature is usually its own nearest, but need not be where others coincide with it
    other = near != wanted[:, None]
    other[other.all(axis=1), -1] = False
    return near[other].reshape(len(wanted), k)


def matched_null_pvalues(
    score: ArrayLike,
    covariates: ArrayLike,
    *,
    n_null: int = 100,
    eligible: ArrayLike | None = None,
    targets: ArrayLike | None = None,
) -> MatchedNull:
    r"""Compare each feature's score with the scores of the features most alike in known covariates.

    Around each feature, the log score is regressed linearly on the covariates over its ``n_null`` nearest features,
    so that a feature at the edge, all of whose matches lie to one side, is compared with the trend and not with their
    mean. Regression and scatter are robust (Tukey's biweight): matches that stand out themselves neither move the
    trend nor hide others. With :math:`\hat y`, :math:`s` and the leverage :math:`h` of the feature from the matches
    alone,

    .. math:: t = \frac{y - \hat y}{s \sqrt{1 + h}}

    and ``pval`` is the upper tail of Student's t. It is uniform for features that scatter about the trend as the bulk
    of their matches do, log-normally; where most features are special, none stands out. ``pval_rank`` does without
    the normal law: it is the rank of :math:`t` among the same residuals of the matches, ``(1 + n at least as large) /
    (1 + n_matched)`` :cite:p:`Phipson2010`. It is coarse, and being a rank among features it is uniform by
    construction: no feature can survive a correction for testing all of them.

    Parameters
    ----------
    score
        Not negative, ``(n_features,)``. Zeros count as the smallest positive score around them.
    covariates
        ``(n_features, n_covariates)``.
    n_null
        Number of matched features; all others where there are fewer, and no p-value with fewer than 20.
    eligible
        Features that may be matched, ``(n_features,)``, bool; by default those whose score and covariates are finite.
    targets
        Indices of the features to test; by default all that are eligible.

    Returns
    -------
    p-values and expected scores, one per target; without ``targets``, one per feature.

    Raises
    ------
    ValueError
        Shapes disagree, a score is negative, or a target or one of its matches has no score.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> expression = rng.normal(size=200)
    >>> score = np.exp(expression + 0.1 * rng.normal(size=200))
    >>> score[7] *= 2
    >>> null = matched_null_pvalues(score, expression[:, None])
    >>> int(null.pval.argmin()), bool(null.pval[7] < 1e-6)
    (7, True)
    """
    values, table = np.asarray(score, dtype=np.float64), np.asarray(covariates, dtype=np.float64)
    if values.ndim != 1 or table.ndim != 2 or len(table) != len(values):
        msg = (
            f"score must be (n_features,) and covariates (n_features, n_covariates); got {values.shape}, {table.shape}."
        )
        raise ValueError(msg)
    if (values < 0).any():
        msg = "scores must not be negative."
        raise ValueError(msg)
    finite = np.isfinite(values) & np.isfinite(table).all(axis=1)
    allowed = finite if eligible is None else np.asarray(eligible, dtype=bool)
    wanted = np.flatnonzero(allowed) if targets is None else np.asarray(targets, dtype=np.int64)
    near = matched_neighbours(table, allowed, wanted, n_null)
    if not np.isfinite(values[near]).all() or not np.isfinite(values[wanted]).all():
        msg = "every target and every feature matched to it needs a score."
        raise ValueError(msg)

    results = np.full((len(wanted), 3), np.nan)
    if near.shape[1] >= MIN_MATCHED:
        for start in range(0, len(wanted), _BLOCK):
            block = slice(start, start + _BLOCK)
            members = np.column_stack([wanted[block], near[block]])
            results[block] = _compare_first(values[members], table[members])
    if targets is None:
        full = np.full((len(values), 3), np.nan)
        full[wanted] = results
        results = full
    pval, pval_rank, expected = results.T
    return MatchedNull(pval, pval_rank, expected, n_matched=near.shape[1])


def _compare_first(score: NDArray[np.float64], covariates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compare the first of each row of features with the others of that row.

    Parameters
    ----------
    score
        ``(n_rows, n_members)``.
    covariates
        ``(n_rows, n_members, n_covariates)``.

    Returns
    -------
    p-value, rank p-value and expected score, ``(n_rows, 3)``.
    """
    from scipy import stats

    positive = np.where(score > 0, score, np.inf).min(axis=1, keepdims=True)
    y = np.log(np.maximum(score, np.where(np.isfinite(positive), positive, 1.0)))
    basis, target = _local_basis(covariates)
    rank = np.count_nonzero(basis.any(axis=1), axis=1)
    coefficients, precision, scale = _robust_fit(y[:, 1:], basis, rank)

    residual = y[:, 0] - (target * coefficients).sum(axis=1)
    leverage = np.einsum("rk,rkl,rl->r", target, np.linalg.inv(precision), target)
    others = y[:, 1:] - np.einsum("rmk,rk->rm", basis, coefficients)
    others /= np.sqrt(np.maximum(1 - np.square(basis).sum(axis=2), 1e-9))
    # without any scatter, what is left of rounding must not decide
    noise = 1e-9 * (1 + np.abs(y).max(axis=1))
    t = residual / (np.maximum(scale, noise) * np.sqrt(1 + leverage))
    t = np.where(np.abs(residual) <= noise, 0.0, t)
    pval = stats.t.sf(t, _EFFICIENCY * (basis.shape[1] - rank))
    standing = residual / np.sqrt(1 + leverage)
    n_at_least = (others >= (standing - noise)[:, None]).sum(axis=1)
    # far outside its matches, a trend may leave the range of numbers
    expected = np.exp(np.clip(y[:, 0] - residual, -700, 700))
    return np.column_stack([pval, (1 + n_at_least) / (1 + basis.shape[1]), expected])


def _local_basis(covariates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthonormal basis of a linear trend over the others of each row, and the first in the same coordinates.

    Directions in which the others do not vary are left out: their basis vectors, and the first's coordinates, are 0.
    """
    others = covariates[:, 1:]
    centre = others.mean(axis=1, keepdims=True)
    spread = others.std(axis=1, keepdims=True)
    scaled = (covariates - centre) / np.where(spread > 0, spread, 1)
    design = np.concatenate([np.ones((*covariates.shape[:2], 1)), scaled], axis=2)
    u, singular, vt = np.linalg.svd(design[:, 1:], full_matrices=False)
    used = singular > 1e-6 * singular[:, :1]
    target = np.einsum("rk,rlk->rl", design[:, 0], vt) / np.where(used, singular, np.inf)
    return u * used[:, None, :], target


def _robust_fit(
    y: NDArray[np.float64], basis: NDArray[np.float64], rank: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients, their precision at unit scatter, and the scatter, of the regression of each row."""
    n = y.shape[1]
    inflate = n / (n - rank)
    # keeps directions that are not used, or whose members all have no weight, solvable
    ridge = 1e-9 * np.eye(basis.shape[2])
    weight = np.ones_like(y)
    for step in range(_HUBER_STEPS + _TUKEY_STEPS + 1):
        precision = np.einsum("rmk,rm,rml->rkl", basis, weight, basis, optimize=True) + ridge
        moment = np.einsum("rmk,rm,rm->rk", basis, weight, y, optimize=True)
        coefficients = np.linalg.solve(precision, moment[..., None])[..., 0]
        residual = y - np.einsum("rmk,rk->rm", basis, coefficients)
        deviation = np.median(np.abs(residual), axis=1)
        # where more than half lie exactly on the trend, the plain scatter is all there is
        plain = np.sqrt(np.square(residual).mean(axis=1))
        deviation = np.where(deviation > 1e-9 * plain, deviation, np.maximum(plain / _MAD_TO_SD, 1e-300))[:, None]
        z = np.abs(residual) / (_MAD_TO_SD * deviation * np.sqrt(inflate)[:, None])
        if step < _HUBER_STEPS:
            weight = _HUBER / np.maximum(z, _HUBER)
        else:
            weight = np.square(np.maximum(1 - np.square(z / _TUKEY), 0))
    # biweight midvariance: far more efficient than the median absolute deviation, and nearly as robust
    u = np.square(residual / (9 * deviation))
    inner = np.maximum(1 - u, 0)
    numerator = n * (np.square(residual) * inner**4).sum(axis=1)
    variance = numerator / np.square((inner * (1 - 5 * u)).sum(axis=1)) * inflate
    return coefficients, precision, np.sqrt(variance)
