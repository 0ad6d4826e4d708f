"""Sums of a kernel over all pairs of cells within and between two samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Entries of the pairwise matrix held at once: 4M float64 are 32 MiB.
_BLOCK_ENTRIES = 2**22


class Pooled(NamedTuple):
    """Two samples, one on top of the other.

    Parameters
    ----------
    values
        ``(n_x + n_y, n_dims)``, float64 array or CSR matrix.
    n_x, n_y
        Cells of each.
    """

    values: Any
    n_x: int
    n_y: int

    @property
    def in_x(self) -> NDArray[np.float64]:
        """1 for the cells of the first sample, 0 for those of the second, ``(n_x + n_y, 1)``."""
        return np.repeat([1.0, 0.0], [self.n_x, self.n_y])[:, None]


class PairSums(NamedTuple):
    """Sums over unordered pairs of different cells, per split, ``(n_splits,)``.

    Parameters
    ----------
    x, y
        Both in the first, both in the second sample.
    between
        One in each.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    between: NDArray[np.float64]


def pooled(x: Any, y: Any) -> Pooled:
    """Check two samples and put one on top of the other.

    Parameters
    ----------
    x, y
        ``(n_cells, n_dims)``, finite, arrays or sparse matrices.

    Returns
    -------
    Both; arrays are centred, which changes no distance and keeps rounding errors small.

    Raises
    ------
    ValueError
        One has fewer than two cells, they differ in dimensions, or values are not finite.
    """
    samples = {}
    for name, given in (("x", x), ("y", y)):
        sample = given.tocsr().astype(np.float64) if sparse.issparse(given) else np.asarray(given, dtype=np.float64)
        if sample.ndim != 2 or sample.shape[0] < 2:
            msg = f"{name} must have shape (n_cells, n_dims) with at least two cells, not {sample.shape}."
            raise ValueError(msg)
        if not np.isfinite(sample.data if sparse.issparse(sample) else sample).all():
            msg = f"{name} holds NaN or infinite values; leave such cells out."
            raise ValueError(msg)
        samples[name] = sample
    x, y = samples["x"], samples["y"]
    if x.shape[1] != y.shape[1]:
        msg = f"x and y must have the same dimensions, not {x.shape[1]} and {y.shape[1]}."
        raise ValueError(msg)
    if sparse.issparse(x) or sparse.issparse(y):
        return Pooled(sparse.vstack([x, y], format="csr"), x.shape[0], y.shape[0])
    values = np.concatenate([x, y])
    return Pooled(values - values.mean(axis=0), len(x), len(y))


def pair_sums(
    values: Any, kernel: Callable[[NDArray[np.float64]], NDArray[np.float64]], in_x: NDArray[np.float64]
) -> PairSums:
    """Sum a kernel of the squared Euclidean distance over pairs, for many ways of splitting the cells in two at once.

    Every pair is computed once, in blocks of rows, so that memory does not grow with the square of the cells.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, array or CSR matrix.
    kernel
        Of an array of squared distances.
    in_x
        1 for the cells of the first sample of each split, 0 for those of the second, ``(n_cells, n_splits)``.

    Returns
    -------
    The sums.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    n_cells = values.shape[0]
    step = max(1, _BLOCK_ENTRIES // n_cells)
    within_x, degree = np.zeros(in_x.shape[1]), np.zeros(n_cells)
    for start in range(0, n_cells, step):
        stop = min(start + step, n_cells)
        block = kernel(euclidean_distances(values[start:stop], values[start:], squared=True))
        # pairs below the diagonal are those above it again
        block[np.tril_indices(stop - start)] = 0.0
        within_x += np.einsum("ik,ik->k", in_x[start:stop], block @ in_x[start:])
        degree[start:stop] += block.sum(axis=1)
        degree[start:] += block.sum(axis=0)
    of_x = in_x.T @ degree
    between = of_x - 2 * within_x
    return PairSums(x=within_x, y=degree.sum() / 2 - within_x - between, between=between)


def mean_excess(sums: PairSums, n_x: int, n_y: int) -> NDArray[np.float64]:
    """Twice the mean between samples, less the means within each: the unbiased energy statistic of a distance.

    Parameters
    ----------
    sums
        Of the distance.
    n_x, n_y
        Cells of each sample.

    Returns
    -------
    ``(n_splits,)``.
    """
    within = sums.x / (n_x * (n_x - 1)) + sums.y / (n_y * (n_y - 1))
    return 2 * (sums.between / (n_x * n_y) - within)
