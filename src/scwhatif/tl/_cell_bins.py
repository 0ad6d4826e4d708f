"""Means over groups of cells, and over the donors they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scwhatif.tl._cell_groups import CellGroups

_CONFIDENCE = 0.95


class BinMeans(NamedTuple):
    """Means per item and group; with donors, of the donors' own means and with the 95 % interval of Student's t.

    Parameters
    ----------
    mean
        ``(n_items, n_strata)``.
    low, high
        Ends of the interval, the same shape; ``None`` without donors, NaN from a single one.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class CellBins:
    """Groups of cells of which some take part.

    Parameters
    ----------
    groups
        From :func:`scwhatif.tl._cell_groups.cell_groups`.
    codes
        Part of the groups that each cell belongs to; ``n_bins`` for cells that take no part.
    """

    groups: CellGroups
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, groups: CellGroups, taking_part: NDArray[np.bool_] | None = None) -> CellBins:
        """Leave cells out.

        Parameters
        ----------
        groups
            All cells.
        taking_part
            Which cells take part, ``(n_cells,)``; ``None`` for all.

        Returns
        -------
        The bins.
        """
        codes = groups.codes if taking_part is None else np.where(taking_part, groups.codes, groups.n_parts)
        return cls(groups, codes.astype(np.int64))

    @property
    def n_bins(self) -> int:
        """Number of parts."""
        return self.groups.n_parts

    @property
    def taking_part(self) -> NDArray[np.int64]:
        """Rows of the cells that take part."""
        return np.flatnonzero(self.codes < self.n_bins)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of cells of each part, ``(n_bins,)``."""
        return np.bincount(self.codes, minlength=self.n_bins + 1)[: self.n_bins]

    @property
    def strata(self) -> list[tuple[str, NDArray[np.int64]]]:
        """Name and parts of all cells together, then of each group that has cells taking part."""
        return [(name, parts) for name, parts in self.groups.strata if self.sizes[parts].any()]

    def sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sums over the strata.

        Parameters
        ----------
        values
            Sums over the parts, ``(n_items, n_bins)``.

        Returns
        -------
        ``(n_items, n_strata)``.
        """
        return np.stack([values[:, parts].sum(axis=1) for _, parts in self.strata], axis=1)

    def means(self, values: NDArray[np.float64]) -> BinMeans:
        """Means over the cells of each stratum; with donors, over the means of those that have cells of it.

        Parameters
        ----------
        values
            Sums over the parts, ``(n_items, n_bins)``.

        Returns
        -------
        The means.
        """
        if not self.groups.donors:
            return BinMeans(self.sums(values) / self.sums(self.sizes[None]))
        found = [self._over_donors(values[:, parts], parts) for _, parts in self.strata]
        mean, low, high = (np.stack(each, axis=1) for each in zip(*found, strict=True))
        return BinMeans(mean, low, high)

    def _over_donors(self, values: NDArray[np.float64], parts: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
        from scipy import stats

        belongs = self.groups.donor_of[parts][:, None] == np.arange(len(self.groups.donors))
        sizes = self.sizes[parts] @ belongs
        own = (values @ belongs)[:, sizes > 0] / sizes[sizes > 0]
        n, mean = own.shape[1], own.mean(axis=1)
        if n < 2:
            return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
        half = stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1) * own.std(axis=1, ddof=1) / np.sqrt(n)
        return mean, mean - half, mean + half
