"""Whether a dimension knows of one factor only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._factors import check_latent, read_factors
from scwhatif.metrics._mutual_information import information

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scwhatif.metrics._factors import Discrete, Factors
    from scwhatif.metrics._mutual_information import Binning


def modularity(
    z: ArrayLike | pd.DataFrame,
    factors: Factors,
    *,
    discrete: Discrete = None,
    n_bins: int = 10,
    binning: Binning = "quantile",
) -> pd.Series:
    r"""Modularity: whether each dimension knows of one factor only.

    With :math:`I_{ik}` the mutual information of dimension :math:`i` and factor :math:`k` of :math:`K`, and
    :math:`k^*` the factor it knows best :cite:p:`Ridgeway2018`,

    .. math:: 1 - \frac{\sum_{k \neq k^*} I_{ik}^2}{(K - 1) \, I_{ik^*}^2}.

    It does not ask how much a dimension knows: one that holds next to nothing has whatever modularity its noise has.

    Parameters
    ----------
    z
        Representation, ``(n_cells, n_dims)``, finite.
    factors
        At least two factors: one label per cell with more than two categories, each of which is a factor against the
        rest; or a table ``(n_cells, n_factors)``, whose columns are the factors.
    discrete
        Whether factors are categories; one for all or one per factor. By default all that are not floats.
    n_bins
        Number of bins.
    binning
        ``"quantile"``, which depends on ranks only, or ``"uniform"``.

    Returns
    -------
    One score per dimension, float64 in [0, 1]; take its mean. 1: a single factor; 0: all of them equally. NaN for a
    dimension without any information, such as a constant one.

    Raises
    ------
    ValueError
        There is a single factor; an argument is out of range; ``z`` or ``factors`` are missing, infinite, constant or
        of unequal length; a category has a single cell; continuous values are given as categories or the reverse.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> size, shape = (grid.ravel() for grid in np.mgrid[0:10, 0:10])
    >>> wi.metrics.modularity(np.column_stack([size, 10 * shape + size, 0 * size]), np.column_stack([size, shape]))
    0    1.0
    1    1.0
    2    NaN
    dtype: float64
    """
    values, dims = check_latent(z)
    read = read_factors(factors, len(values), discrete)
    if len(read) < 2:
        msg = (
            f"modularity needs at least two factors, not only {read[0].name!r}: with one, every dimension knows of one "
            "only. Add factors as columns of a table."
        )
        raise ValueError(msg)
    shared, _ = information(values, read, n_bins=n_bins, binning=binning)
    return pd.Series(modularity_of(shared), index=dims)


def modularity_of(shared: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`modularity` from the information itself.

    Parameters
    ----------
    shared
        ``(n_dims, n_factors)``, not negative, at least two factors.

    Returns
    -------
    One score per dimension, NaN where a dimension knows nothing.
    """
    best = shared.max(axis=1, keepdims=True)
    relative = np.square(np.divide(shared, best, out=np.full_like(shared, np.nan), where=best > 0))
    return 1 - (relative.sum(axis=1) - 1) / (shared.shape[1] - 1)
