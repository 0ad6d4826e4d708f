"""Separated attribute predictability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._factors import check_latent, one_vs_rest, read_factors
from scwhatif.metrics._latent_matching import lead_of_best

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from scwhatif.metrics._factors import Discrete, Factor, Factors


def sap(z: ArrayLike | pd.DataFrame, factors: Factors, *, discrete: Discrete = None) -> pd.Series:
    r"""Separated attribute predictability: how far the best linear predictor of each factor leads the second best.

    .. math:: \mathrm{SAP}_k = S_{(1) k} - S_{(2) k}

    with :math:`S_{ik}` how well dimension :math:`i` alone predicts factor :math:`k`, in descending order
    :cite:p:`Kumar2018`. For a continuous factor it is :math:`R^2` of a straight line. For two categories it is the
    balanced accuracy of the best threshold, on a scale from 0 at chance to 1,

    .. math:: S_{ik} = 2 \, \mathrm{BA} - 1 = \max_t | F_{i1}(t) - F_{i0}(t) |,

    the Kolmogorov–Smirnov distance between the cells with and without the category; on the plain scale of accuracy,
    where chance is ½, the gap would be half as large and never reach 1. For more than two categories of one factor it
    is the mean over the categories, each against the rest. The threshold is chosen on the cells it is scored on; with
    one number to choose that is worth about :math:`1 / \sqrt{n}`, for the best and the second best alike.

    Parameters
    ----------
    z
        Representation, ``(n_cells, n_dims)``, finite.
    factors
        One label per cell, whose categories are the factors, each against the rest (two categories are one factor);
        or one continuous value per cell; or a table ``(n_cells, n_factors)``, whose columns are the factors.
    discrete
        Whether factors are categories; one for all or one per factor. By default all that are not floats.

    Returns
    -------
    One gap per factor, float64 in [0, 1]; take its mean. With a single dimension, the second best is 0.

    Raises
    ------
    ValueError
        ``z`` or ``factors`` are missing, infinite, constant or of unequal length; a category has a single cell;
        continuous values are given as categories or the reverse.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> label = np.array(["control", "treated"]).repeat(50)
    >>> wi.metrics.sap(np.column_stack([np.arange(100) >= 50, np.arange(100) % 2]), label)
    treated    1.0
    dtype: float64
    """
    values, _ = check_latent(z)
    read = read_factors(factors, len(values), discrete)
    return pd.Series(lead_of_best(predictability(values, read)), index=[factor.name for factor in read])


def predictability(z: NDArray[np.float64], factors: Sequence[Factor]) -> NDArray[np.float64]:
    """How well each dimension alone predicts each factor.

    Parameters
    ----------
    z
        ``(n_cells, n_dims)``, finite.
    factors
        The factors.

    Returns
    -------
    ``(n_dims, n_factors)``, float64 in [0, 1]; 0 for a constant dimension.
    """
    scores = np.empty((z.shape[1], len(factors)))
    columns = [one_vs_rest(factor) for factor in factors]
    flat = [column for group in columns for column in group if column.levels is not None]
    separation = _largest_ecdf_difference(z, np.column_stack([c.values for c in flat])) if flat else scores[:, :0]
    at = 0
    for k, (factor, group) in enumerate(zip(factors, columns, strict=True)):
        if factor.levels is None:
            scores[:, k] = _squared_correlation(z, factor.values)
        else:
            scores[:, k] = separation[:, at : at + len(group)].mean(axis=1)
            at += len(group)
    return scores


def _largest_ecdf_difference(z: NDArray[np.float64], carried: NDArray[np.int64]) -> NDArray[np.float64]:
    """Kolmogorov–Smirnov distances between cells with and without each label, ``(n_dims, n_labels)``."""
    n_in = carried.sum(axis=0)
    weight = carried / n_in - (1 - carried) / (len(carried) - n_in)
    distance = np.empty((z.shape[1], carried.shape[1]))
    for i, column in enumerate(z.T):
        order = np.argsort(column, kind="stable")
        # a threshold cannot lie between ties
        ends = np.flatnonzero(np.r_[np.diff(column[order]) > 0, True])
        distance[i] = np.abs(np.cumsum(weight[order], axis=0)[ends]).max(axis=0)
    return np.where(distance < 1e-12, 0.0, np.minimum(distance, 1.0))


def _squared_correlation(z: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = z - z.mean(axis=0), target - target.mean()
    power = np.square(x).sum(axis=0) * np.square(y).sum()
    return np.minimum(np.square(x.T @ y) / np.where(power > 0, power, 1), 1.0)
