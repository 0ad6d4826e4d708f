"""How much of a screen is known before it is run, from what each gene is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_FOLDS = 5
# With fewer genes the share says nothing.
_MIN_GENES = 30


def identity_share(score: NDArray[np.float64], covariates: NDArray[np.float64]) -> float:
    """Share of the variance of the log score that covariates of the genes explain, in genes left out of the fit.

    Parameters
    ----------
    score
        Not negative, ``(n_genes,)``; genes without a score, or with none above 0, are left out.
    covariates
        ``(n_genes, n_covariates)``.

    Returns
    -------
    R² of a quadratic regression over five folds, below 0 where it predicts worse than the mean; NaN with fewer than 30
    genes, or if all have the same score.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(score)
    used = np.isfinite(y)
    if used.sum() < _MIN_GENES or np.ptp(y[used]) == 0:
        return float("nan")
    y, terms = y[used], _quadratic(covariates[used])
    fold = np.random.default_rng(0).permutation(len(y)) % _N_FOLDS
    predicted = np.empty_like(y)
    for held_out in range(_N_FOLDS):
        own = fold == held_out
        # by least norm, so that covariates that coincide share what they explain
        coefficients = np.linalg.lstsq(terms[~own], y[~own], rcond=1e-6)[0]
        predicted[own] = terms[own] @ coefficients
    return float(1 - np.square(y - predicted).sum() / np.square(y - y.mean()).sum())


def _quadratic(covariates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Constant, covariates, their squares and products, each scaled."""
    spread = covariates.std(axis=0)
    x = (covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1)
    first, second = np.triu_indices(x.shape[1])
    return np.column_stack([np.ones(len(x)), x, x[:, first] * x[:, second]])
