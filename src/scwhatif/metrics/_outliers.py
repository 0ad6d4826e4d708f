"""Cells that lie far from all others of their label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import chi2, f, false_discovery_control

from scwhatif.metrics._label_clouds import LabelClouds
from scwhatif.metrics._labelled import labelled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Degrees of freedom tried for the tail, heaviest first: with fewer there would be no variance to measure distance in.
_DEGREES = np.geomspace(3.0, 1000.0, 200)
# Quantiles that the tail is fitted to. The upper one takes no notice of up to 15 % of outliers on one side.
_QUANTILES = (0.5, 0.85)


def mahalanobis_outliers(values: ArrayLike | pd.DataFrame, labels: ArrayLike | pd.Categorical) -> pd.DataFrame:
    r"""Robust Mahalanobis distance of each cell to the centre of its label, and whether it is too large.

    Location and scatter of each label are robust :cite:p:`Maronna2002`, so outliers do not hide themselves. Latent
    codes have heavier tails than a Gaussian, whose quantiles would call too many of them outliers. The tail is
    therefore estimated too: if cells follow a multivariate t law with :math:`\nu` degrees of freedom about their
    centre, then

    .. math::
        d^2 / k \sim F(k, \nu)

    for :math:`k` dimensions, up to a scale. Scale and :math:`\nu \ge 3` are those that meet the median and the 85 %
    quantile of all cells, neither of which a few outliers can move; :math:`\nu = \infty` is the Gaussian. With few
    cells :math:`\nu` is uncertain, and outliers must be the farther out to be called.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, finite.
    labels
        ``(n_cells,)``, none missing.

    Returns
    -------
    One row per cell: ``distance`` (1 is about one standard deviation), ``pval`` (upper tail), ``padj`` (over all
    cells :cite:p:`Benjamini1995`).

    Raises
    ------
    ValueError
        Fewer than two labels have cells, lengths differ, or something is missing or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> z = np.random.default_rng(0).normal(size=(200, 2))
    >>> z[7] = 9
    >>> found = wi.metrics.mahalanobis_outliers(z, np.repeat(["a", "b"], 100))
    >>> int(found["padj"].idxmin()), bool(found.loc[7, "padj"] < 0.01)
    (7, True)
    """
    given = labelled(values, labels)
    n_cells, n_dims = given.values.shape
    clouds = LabelClouds.fit(given.values, given.codes, len(given.names))
    squared = clouds.squared_distances(given.values)[np.arange(n_cells), given.codes]
    pval = _tail(squared, n_dims)
    return pd.DataFrame({"distance": np.sqrt(squared), "pval": pval, "padj": false_discovery_control(pval)})


def _tail(squared: NDArray[np.float64], n_dims: int) -> NDArray[np.float64]:
    median, upper = np.quantile(squared, _QUANTILES)
    if median <= 0:
        # more than half of the cells are one point, and tell nothing of the scatter of the others
        return np.ones(len(squared))
    expected_median, expected_upper = (f.ppf(quantile, n_dims, _DEGREES) for quantile in _QUANTILES)
    ratios = expected_upper / expected_median
    if upper / median <= ratios[-1]:
        return chi2.sf(squared * chi2.ppf(_QUANTILES[0], n_dims) / median, n_dims)
    # ratios fall as degrees rise
    degrees = np.interp(-upper / median, -ratios, _DEGREES)
    return f.sf(squared * f.ppf(_QUANTILES[0], n_dims, degrees) / median, n_dims, degrees)
