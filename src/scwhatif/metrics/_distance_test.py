"""Whether two samples of cells come from one distribution."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from scwhatif.metrics._e_distance import e_distances
from scwhatif.metrics._mmd import median_distance, mmds
from scwhatif.metrics._pair_sums import pooled

Distance = Literal["e_distance", "mmd"]
# Splits per pass over the pairs; bounds memory to this many numbers per cell.
_CHUNK = 256
# Relative difference by which rounding lets the same partition differ from itself.
_ROUNDING = 1e-10


class DistanceTest(NamedTuple):
    """Result of :func:`distance_test`.

    Parameters
    ----------
    distance
        Between the two samples.
    pval
        Share of the splits, the observed one among them, at least as far apart.
    """

    distance: float
    pval: float


def distance_test(
    x: Any,
    y: Any,
    *,
    distance: Distance = "e_distance",
    bandwidth: float | None = None,
    n_permutations: int = 999,
    seed: int | np.random.Generator | None = 0,
) -> DistanceTest:
    """Test whether two samples of cells come from one distribution, by shuffling which sample cells belong to.

    The p-value is (1 + k) / (1 + n) for k of n shuffles with a distance at least as large :cite:p:`Phipson2010`: it is
    never 0, and samples that coincide have p-value 1. It takes cells as independent. Where they come from few donors
    or batches that differ between the samples, it tells these apart, not what was done to them.

    Parameters
    ----------
    x, y
        Cells × dimensions, finite, two cells each at least; arrays or sparse matrices.
    distance
        ``"e_distance"`` (:func:`~scwhatif.metrics.e_distance`) or ``"mmd"`` (:func:`~scwhatif.metrics.mmd`).
    bandwidth
        Of the kernel of ``"mmd"``, as there.
    n_permutations
        Number of shuffles. All pairs are gone through once for every 256 of them.
    seed
        Seed or generator of the shuffles; ``None`` draws a fresh one.

    Returns
    -------
    The distance and its p-value.

    Raises
    ------
    ValueError
        An argument is unknown or out of range, a sample has fewer than two cells, they differ in dimensions, or
        values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> rng = np.random.default_rng(0)
    >>> wi.metrics.distance_test(rng.normal(size=(30, 5)), rng.normal(1, 1, size=(40, 5))).pval
    0.001
    """
    if distance not in get_args(Distance):
        msg = f"distance={distance!r} must be one of {get_args(Distance)}."
        raise ValueError(msg)
    if n_permutations < 1:
        msg = f"n_permutations={n_permutations} must be at least 1; {distance} alone gives the distance."
        raise ValueError(msg)
    if bandwidth is not None and distance != "mmd":
        msg = f"bandwidth={bandwidth} belongs to distance='mmd'."
        raise ValueError(msg)
    both = pooled(x, y)
    if distance == "mmd" and bandwidth is None:
        bandwidth = median_distance(both)
    rng = np.random.default_rng(seed)
    n_all = 1 + n_permutations
    found = np.empty(n_all)
    for start in range(0, n_all, _CHUNK):
        stop = min(start + _CHUNK, n_all)
        in_x = rng.permuted(np.repeat(both.in_x, stop - start, axis=1), axis=0)
        if start == 0:
            in_x[:, [0]] = both.in_x
        found[start:stop] = e_distances(both, in_x) if bandwidth is None else mmds(both, in_x, bandwidth)
    # the scale on which the three means that a distance is made of are rounded
    slack = _ROUNDING * np.abs(found).max()
    n_larger = np.count_nonzero(found[1:] >= found[0] - slack)
    return DistanceTest(distance=float(found[0]), pval=float((1 + n_larger) / n_all))
