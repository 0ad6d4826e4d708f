"""The mutual information gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scwhatif.metrics._factors import check_latent, read_factors
from scwhatif.metrics._latent_matching import lead_of_best
from scwhatif.metrics._mutual_information import information

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from scwhatif.metrics._factors import Discrete, Factors
    from scwhatif.metrics._mutual_information import Binning


def mig(
    z: ArrayLike | pd.DataFrame,
    factors: Factors,
    *,
    discrete: Discrete = None,
    n_bins: int = 10,
    binning: Binning = "quantile",
) -> pd.Series:
    r"""Mutual information gap: how far the best dimension of each factor is ahead of the second best.

    .. math:: \mathrm{MIG}_k = \frac{I(z_{(1)}; f_k) - I(z_{(2)}; f_k)}{H(f_k)}

    with the dimensions in descending order of the information they hold on :math:`f_k` :cite:p:`Chen2018`. Dimensions
    and continuous factors are binned. For the categories of one label, its mean is the gap score of the ``"SMI"``
    similarities (:func:`~scwhatif.metrics.most_similar_gap_score`).

    Parameters
    ----------
    z
        Representation, ``(n_cells, n_dims)``, finite.
    factors
        One label per cell, whose categories are the factors, each against the rest (two categories are one factor);
        or one continuous value per cell; or a table ``(n_cells, n_factors)``, whose columns are the factors.
    discrete
        Whether factors are categories; one for all or one per factor. By default all that are not floats.
    n_bins
        Number of bins.
    binning
        ``"quantile"``, which depends on ranks only, or ``"uniform"``.

    Returns
    -------
    One gap per factor, float64 in [0, 1]; take its mean. 1: one dimension tells the factor and no other knows of it.
    With a single dimension, the second best is 0.

    Raises
    ------
    ValueError
        An argument is out of range; ``z`` or ``factors`` are missing, infinite, constant or of unequal length; a
        category has a single cell; continuous values are given as categories or the reverse.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> size, shape = (grid.ravel() for grid in np.mgrid[0:10, 0:10])
    >>> wi.metrics.mig(np.column_stack([size**3, -shape]), np.column_stack([size, shape]))
    factor_0    1.0
    factor_1    1.0
    dtype: float64
    """
    values, _ = check_latent(z)
    read = read_factors(factors, len(values), discrete)
    shared, entropies = information(values, read, n_bins=n_bins, binning=binning)
    return pd.Series(lead_of_best(shared / entropies), index=[factor.name for factor in read])
