"""What the data alone say about features and items, counted chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse


@dataclass(frozen=True, eq=False)
class FeatureCounts:
    """What the data alone say about each feature and each item in each group of cells.

    Parameters
    ----------
    n_cells
        Cells of each group, ``(n_groups,)``.
    n_nonzero
        Cells whose value is not 0, ``(n_features, n_groups)``.
    total, total_abs
        Sum of the values, and of their absolute values, ``(n_features, n_groups)``.
    n_changed
        Cells in which an item changes a value, ``(n_items, n_groups)``.
    """

    n_cells: NDArray[np.int64]
    n_nonzero: NDArray[np.int64]
    total: NDArray[np.float64]
    total_abs: NDArray[np.float64]
    n_changed: NDArray[np.int64]

    @classmethod
    def zeros(cls, n_features: int, n_items: int, n_groups: int) -> FeatureCounts:
        """Start with nothing counted.

        Parameters
        ----------
        n_features, n_items, n_groups
            Numbers of each.

        Returns
        -------
        Zeros.
        """
        shape = (n_features, n_groups)
        return cls(
            np.zeros(n_groups, np.int64),
            np.zeros(shape, np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.zeros((n_items, n_groups), np.int64),
        )

    def add(self, other: FeatureCounts) -> None:
        """Add the counts of other cells, in place.

        Parameters
        ----------
        other
            Of the same features, items and groups.
        """
        for name, values in vars(other).items():
            getattr(self, name).__iadd__(values)


def count_features(chunk: sparse.csr_matrix, groups: NDArray[np.int64], counts: FeatureCounts) -> None:
    """Add cells, and the values of their features, to the counts.

    Parameters
    ----------
    chunk
        The cells, without stored zeros.
    groups
        Group of each.
    counts
        Added to, in place.
    """
    counts.n_cells.__iadd__(np.bincount(groups, minlength=len(counts.n_cells)))
    _count_values(chunk.indptr, chunk.indices, chunk.data, groups, counts.n_nonzero, counts.total, counts.total_abs)


def count_pairs(
    items: NDArray[np.int64], rows: NDArray[np.int64], groups: NDArray[np.int64], counts: FeatureCounts
) -> None:
    """Add pairs of a cell and an item that changes it to the counts.

    Parameters
    ----------
    items, rows
        Item and cell of each pair.
    groups
        Group of each cell.
    counts
        Added to, in place.
    """
    _count_changes(items, rows, groups, counts.n_changed)


@njit(nogil=True, cache=True)
def _count_values(indptr, indices, data, groups, n_nonzero, total, total_abs):  # type: ignore[no-untyped-def]
    for row in range(groups.size):
        group = groups[row]
        for at in range(indptr[row], indptr[row + 1]):
            feature = indices[at]
            n_nonzero[feature, group] += 1
            total[feature, group] += data[at]
            total_abs[feature, group] += abs(data[at])


@njit(nogil=True, cache=True)
def _count_changes(items, rows, groups, n_changed):  # type: ignore[no-untyped-def]
    for pair in range(items.size):
        n_changed[items[pair], groups[rows[pair]]] += 1
