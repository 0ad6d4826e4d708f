"""Energy distance of two samples of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif.metrics._pair_sums import mean_excess, pair_sums, pooled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scwhatif.metrics._pair_sums import Pooled


def e_distance(x: Any, y: Any) -> float:
    r"""Energy distance between two samples of cells.

    .. math::
        \frac{2}{nm} \sum_{ij} \|x_i - y_j\| - \frac{1}{n (n-1)} \sum_{i \ne i'} \|x_i - x_{i'}\|
        - \frac{1}{m (m-1)} \sum_{j \ne j'} \|y_j - y_{j'}\|

    with Euclidean distances :cite:p:`Szekely2013`. It is unbiased: its mean is 0 if both samples come from one
    distribution, whatever their sizes, so it may be negative. It depends on units and on the space it is taken in, and
    packages differ. pertpy (1.0) and cell-eval divide by :math:`n^2` and :math:`m^2`, which adds the mean distance
    within each sample over its size; cell-eval then reports only how the distances of prediction and truth from the
    control correlate. scPerturb squares distances :cite:p:`Peidli2024`, and so sees nothing but the means.

    Parameters
    ----------
    x, y
        Cells × dimensions, finite, two cells each at least; arrays or sparse matrices. Memory does not grow with the
        square of the number of cells.

    Returns
    -------
    The distance.

    Raises
    ------
    ValueError
        A sample has fewer than two cells, they differ in dimensions, or values are not finite.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.e_distance([[0.0], [1.0]], [[3.0], [4.0]])
    4.0
    """
    return float(e_distances(both := pooled(x, y), both.in_x)[0])


def e_distances(samples: Pooled, in_x: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`e_distance` of many ways of splitting the same cells in two.

    Parameters
    ----------
    samples
        The cells.
    in_x
        1 for the cells of the first sample of each split, 0 for those of the second, ``(n_cells, n_splits)``.

    Returns
    -------
    ``(n_splits,)``.
    """
    return mean_excess(pair_sums(samples.values, np.sqrt, in_x), samples.n_x, samples.n_y)
