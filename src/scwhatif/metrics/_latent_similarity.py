"""How much every dimension tells about every factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from scwhatif.metrics._factors import check_latent, one_vs_rest, read_factors
from scwhatif.metrics._mutual_information import information

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from scwhatif.metrics._factors import Discrete, Factor, Factors

Similarity = Literal["SMI", "SMI-quantile", "SPN", "ASC"]


def latent_similarity(
    z: ArrayLike | pd.DataFrame,
    factors: Factors,
    *,
    method: Similarity = "SMI",
    discrete: Discrete = None,
    n_bins: int = 10,
) -> pd.DataFrame:
    r"""Similarity of every latent dimension with every category or continuous factor.

    The measures of DRVI :cite:p:`Moinfar2024`. For dimension :math:`z_i` and category :math:`c`, carried by
    :math:`n_c` of :math:`n` cells:

    ``"SMI"``
        :math:`I(\mathrm{bin}(z_i); 1_c) / H(1_c)`, the share of the category's entropy that is known once the bin of
        :math:`z_i` is. Bins are equally wide, so a few outlying cells can empty all but one.
    ``"SMI-quantile"``
        The same with equally full bins, which depend on ranks only.
    ``"SPN"``
        Same-process neighbours. Of the cells sorted by :math:`z_i`, with :math:`a_c` adjacent pairs both of category
        :math:`c`,

        .. math:: \frac{\max(a_c / (n_c - 1) - n_c / n,\; 0)}{1 - n_c / n}.

        Tied cells have no order: :math:`a_c` is its mean over all orders of the tied.
    ``"ASC"``
        Absolute Spearman correlation of :math:`z_i` with :math:`1_c`. It cannot reach 1 for a category, and does not
        see one that lies in the middle of a dimension.

    For a continuous factor, ``"SMI"`` bins the factor too, ``"ASC"`` is its absolute rank correlation, and ``"SPN"``
    is not defined. A constant dimension scores 0 whatever the method. One that is dead but not constant should be
    left out before: all four measures ignore its scale.

    Parameters
    ----------
    z
        Representation, ``(n_cells, n_dims)``, finite.
    factors
        One label per cell, whose categories are the columns; or one continuous value per cell; or a table
        ``(n_cells, n_factors)``, of which a column with more than two categories makes one column per category. Two
        categories make one column, named after the second: the first would only repeat it.
    method
        The measure.
    discrete
        Whether factors are categories; one for all or one per factor. By default all that are not floats.
    n_bins
        Number of bins of the two ``"SMI"``.

    Returns
    -------
    Dimensions × factors, float64 in [0, 1]. 0 is nothing (``"SMI"`` is biased upwards by about
    ``(n_bins - 1) / (2 * n_cells * H)``); 1 is that the dimension tells all.

    Raises
    ------
    ValueError
        An argument is unknown or out of range; ``z`` or ``factors`` are missing, infinite, constant or of unequal
        length; a category has a single cell; continuous values are given as categories or the reverse; ``"SPN"`` of a
        continuous factor.

    Examples
    --------
    >>> import scwhatif as wi
    >>> z = [[0.0, 5.0], [0.1, 1.0], [1.0, 2.0], [1.1, 4.0], [2.0, 3.0], [2.1, 0.0]]
    >>> wi.metrics.latent_similarity(z, ["B", "B", "NK", "NK", "T", "T"], method="SPN").round(2)
         B   NK    T
    0  1.0  1.0  1.0
    1  0.0  0.0  0.0
    """
    values, dims = check_latent(z)
    read = read_factors(factors, len(values), discrete)
    columns = [column for factor in read for column in one_vs_rest(factor)]
    return pd.DataFrame(
        similarity_of(values, columns, method=method, n_bins=n_bins), index=dims, columns=[c.name for c in columns]
    )


def similarity_of(
    z: NDArray[np.float64], factors: Sequence[Factor], *, method: Similarity, n_bins: int = 10
) -> NDArray[np.float64]:
    """:func:`latent_similarity` of what has been read already.

    Parameters
    ----------
    z
        ``(n_cells, n_dims)``.
    factors
        Of two levels, or continuous.
    method
        The measure.
    n_bins
        Number of bins.

    Returns
    -------
    ``(n_dims, n_factors)``.

    Raises
    ------
    ValueError
        The method is unknown, or not defined for one of the factors.
    """
    if method not in get_args(Similarity):
        msg = f"method={method!r} must be one of {get_args(Similarity)}."
        raise ValueError(msg)
    if method == "SPN":
        return _same_neighbours(z, factors)
    if method == "ASC":
        return _absolute_spearman(z, factors)
    shared, entropies = information(z, factors, n_bins=n_bins, binning="uniform" if method == "SMI" else "quantile")
    return shared / entropies


def _same_neighbours(z: NDArray[np.float64], factors: Sequence[Factor]) -> NDArray[np.float64]:
    continuous = [factor.name for factor in factors if factor.levels is None]
    if continuous:
        msg = f"SPN compares the categories of neighbours, but factor {continuous[0]!r} is continuous. Use SMI or ASC."
        raise ValueError(msg)
    carried = np.column_stack([factor.values for factor in factors]).astype(np.float64)
    n_cells, n_in = len(carried), carried.sum(axis=0)
    pairs = np.empty((z.shape[1], len(factors)))
    for i, column in enumerate(z.T):
        order = np.argsort(column, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(column[order]) > 0])
        size = np.diff(np.r_[starts, n_cells])[:, None]
        count = np.add.reduceat(carried[order], starts, axis=0)
        share = count / size
        # means over all orders of the tied: within a run of ties, then of the last of one run and the first of the next
        pairs[i] = (share * (count - 1)).sum(axis=0) + (share[:-1] * share[1:]).sum(axis=0)
    frequency = n_in / n_cells
    excess = np.maximum(pairs / (n_in - 1) - frequency, 0) / (1 - frequency)
    # rounding must not let a dimension without any order score
    return np.where(excess < 1e-12, 0.0, excess)


def _absolute_spearman(z: NDArray[np.float64], factors: Sequence[Factor]) -> NDArray[np.float64]:
    ranked = (_unit_ranks(z), _unit_ranks(np.column_stack([factor.values for factor in factors])))
    return np.minimum(np.abs(ranked[0].T @ ranked[1]), 1.0)


def _unit_ranks(values: NDArray) -> NDArray[np.float64]:
    """Centred mid-ranks of unit norm; zeros for a constant column."""
    ranks = rankdata(values, axis=0) - (len(values) + 1) / 2
    norm = np.linalg.norm(ranks, axis=0)
    return ranks / np.where(norm > 0, norm, 1)
