"""Maximum mean discrepancy of two samples of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif.metrics._pair_sums import mean_excess, pair_sums, pooled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scwhatif.metrics._pair_sums import Pooled

# Cells among which the median distance is taken: 2M pairs, 16 MiB.
_MEDIAN_CELLS = 2000


def mmd(x: Any, y: Any, *, bandwidth: float | None = None) -> float:
    r"""Squared maximum mean discrepancy between two samples of cells, with a Gaussian kernel.

    .. math::
        \frac{1}{n (n-1)} \sum_{i \ne i'} k(x_i, x_{i'}) + \frac{1}{m (m-1)} \sum_{j \ne j'} k(y_j, y_{j'})
        - \frac{2}{nm} \sum_{ij} k(x_i, y_j), \quad k(a, b) = \exp \frac{-\|a - b\|^2}{2 \sigma^2}

    It is unbiased (:cite:t:`Gretton2012`): its mean is 0 if both samples come from one distribution, so it may be
    negative. It depends on the bandwidth, and on the cells if that is taken from them; to compare several pairs of
    samples, give one for all. pertpy's ``mmd`` keeps :math:`k(x_i, x_i)`, which biases it upwards, and has a linear
    kernel by default, which sees nothing but the means.

    Parameters
    ----------
    x, y
        Cells × dimensions, finite, two cells each at least; arrays or sparse matrices. Memory does not grow with the
        square of the number of cells.
    bandwidth
        :math:`\sigma`, above 0. By default the median distance between two cells of both samples together; of 2000
        cells, evenly spaced, where there are more.

    Returns
    -------
    The squared discrepancy, at most 2.

    Raises
    ------
    ValueError
        A sample has fewer than two cells, they differ in dimensions, values are not finite, the bandwidth is not
        above 0, or more than half of all distances are 0.

    Examples
    --------
    >>> import scwhatif as wi
    >>> round(wi.metrics.mmd([[0.0], [1.0]], [[3.0], [4.0]], bandwidth=1.0), 4)
    1.1341
    """
    both = pooled(x, y)
    return float(mmds(both, both.in_x, median_distance(both) if bandwidth is None else bandwidth)[0])


def mmds(samples: Pooled, in_x: NDArray[np.float64], bandwidth: float) -> NDArray[np.float64]:
    """:func:`mmd` of many ways of splitting the same cells in two.

    Parameters
    ----------
    samples
        The cells.
    in_x
        1 for the cells of the first sample of each split, 0 for those of the second, ``(n_cells, n_splits)``.
    bandwidth
        Of the kernel.

    Returns
    -------
    ``(n_splits,)``.

    Raises
    ------
    ValueError
        The bandwidth is not above 0.
    """
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        msg = f"bandwidth={bandwidth} must be above 0."
        raise ValueError(msg)
    sums = pair_sums(samples.values, lambda squared: np.exp(squared / (-2 * bandwidth**2)), in_x)
    return -mean_excess(sums, samples.n_x, samples.n_y)


def median_distance(samples: Pooled) -> float:
    """Median distance between two cells, whichever sample they belong to.

    Parameters
    ----------
    samples
        The cells.

    Returns
    -------
    The median.

    Raises
    ------
    ValueError
        It is 0.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    n_x, n_y = samples.n_x, samples.n_y
    share = min(1.0, _MEDIAN_CELLS / (n_x + n_y))
    # spaced within each sample, so that the order of the samples does not matter
    of_x = np.linspace(0, n_x - 1, max(2, round(share * n_x))).round().astype(np.int64)
    of_y = np.linspace(0, n_y - 1, max(2, round(share * n_y))).round().astype(np.int64)
    cells = samples.values[np.concatenate([of_x, n_x + of_y])]
    distance = euclidean_distances(cells)
    median = float(np.median(distance[np.triu_indices(len(distance), k=1)]))
    if median == 0:
        msg = "more than half of all cells coincide, so their median distance is no bandwidth; give one."
        raise ValueError(msg)
    return median
