"""Mutual information of binned columns, from counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import xlogy
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scwhatif.metrics._factors import Factor

Binning = Literal["uniform", "quantile"]


def bin_columns(values: NDArray[np.float64], n_bins: int, binning: Binning) -> NDArray[np.int64]:
    """Cut every column into bins.

    Parameters
    ----------
    values
        ``(n_cells, n_columns)``, finite.
    n_bins
        Number of bins, at least two.
    binning
        ``"uniform"``: equally wide from the smallest to the largest value. ``"quantile"``: equally full, by rank, so
        that any increasing map of a column leaves its bins as they are; ties share a bin.

    Returns
    -------
    Bins from 0, same shape. A constant column is all in one bin.

    Raises
    ------
    ValueError
        ``n_bins`` is below two, or ``binning`` unknown.
    """
    if n_bins < 2:
        msg = f"n_bins={n_bins} must be at least 2."
        raise ValueError(msg)
    if binning == "quantile":
        below = rankdata(values, axis=0) - 0.5
        return np.floor(below * n_bins / len(values)).astype(np.int64)
    if binning != "uniform":
        msg = f"binning={binning!r} must be 'uniform' or 'quantile'."
        raise ValueError(msg)
    low, high = values.min(axis=0), values.max(axis=0)
    inner = np.linspace(low, high, n_bins + 1)[1:-1]
    columns = [np.searchsorted(inner[:, i], values[:, i], side="right") for i in range(values.shape[1])]
    # every edge of a constant column is its value
    return np.where(high > low, np.column_stack(columns), 0)


def entropy(counts: NDArray, axis: int | tuple[int, ...] = -1) -> NDArray[np.float64]:
    """Entropy, in nats, of the distributions that counts estimate.

    Parameters
    ----------
    counts
        Not negative; no distribution is all zero.
    axis
        Axes of one distribution.

    Returns
    -------
    Entropies, one per remaining position.
    """
    share = counts / counts.sum(axis=axis, keepdims=True)
    return -xlogy(share, share).sum(axis=axis)


def information(
    z: NDArray[np.float64], factors: Sequence[Factor], *, n_bins: int, binning: Binning
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Mutual information of every binned dimension with every factor, and the entropy of every factor.

    The plug-in estimate :math:`I = H(z) + H(f) - H(z, f)`, whose bias between independent variables is about
    ``(n_bins - 1) * (n_levels - 1) / (2 * n_cells)`` nats.

    Parameters
    ----------
    z
        ``(n_cells, n_dims)``, finite.
    factors
        The factors; continuous ones are binned as the dimensions are.
    n_bins
        Number of bins.
    binning
        As in :func:`bin_columns`.

    Returns
    -------
    Information in nats, ``(n_dims, n_factors)``, not negative, and entropies, ``(n_factors,)``.
    """
    binned = bin_columns(z, n_bins, binning)
    n_dims = z.shape[1]
    cells = binned + n_bins * np.arange(n_dims)
    shared, entropies = np.empty((n_dims, len(factors))), np.empty(len(factors))
    for k, factor in enumerate(factors):
        codes, n_levels = factor.values, factor.n_levels
        if factor.levels is None:
            codes, n_levels = bin_columns(factor.values[:, None], n_bins, binning)[:, 0], n_bins
        joint = np.bincount((cells * n_levels + codes[:, None]).ravel(), minlength=n_dims * n_bins * n_levels)
        joint = joint.reshape(n_dims, n_bins, n_levels)
        entropies[k] = entropy(joint[0].sum(axis=0))
        shared[:, k] = entropy(joint.sum(axis=2)) + entropies[k] - entropy(joint, axis=(1, 2))
    # rounding of a difference of entropies
    shared[shared < 1e-12] = 0.0
    return shared, entropies
