"""Whether a latent code lies where the cells lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.neighbors import NearestNeighbors

# Share of the cells themselves that lie inside, by construction.
INSIDE = 0.995
_N_NEIGHBORS = 15
# Neighbours are looked for among this many cells at most.
_MAX_CELLS = 20_000


@dataclass(frozen=True, eq=False)
class TrainingCloud:
    """Cells, and how far from its nearest neighbours among them a code may lie; made by :meth:`fit`.

    No shape is assumed, so the gap between two clusters is outside as well, which no ellipsoid around both would say.
    Distances are plain ones: a latent dimension that the model does not use is as long as one that it does, and a step
    along it leaves the cloud.

    Parameters
    ----------
    neighbors
        Index over the cells.
    cells
        Which cells it holds.
    threshold
        Mean distance to the nearest neighbours that 99.5 % of the cells keep, each without itself.
    """

    neighbors: NearestNeighbors
    cells: NDArray[np.int64]
    threshold: float

    @classmethod
    def fit(cls, z: NDArray[np.floating], seed: int = 0) -> TrainingCloud:
        """Index cells.

        Parameters
        ----------
        z
            Their codes, ``(n_cells, n_latent)``.
        seed
            Chooses cells where there are more than 20 000.

        Returns
        -------
        The cloud.
        """
        from sklearn.neighbors import NearestNeighbors

        cells = np.arange(len(z))
        if len(z) > _MAX_CELLS:
            cells = np.sort(np.random.default_rng(seed).choice(cells, _MAX_CELLS, replace=False))
        n_neighbors = min(_N_NEIGHBORS, len(cells) - 1)
        # one more than wanted, because a cell may find itself
        index = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(z[cells])
        cloud = cls(index, cells, np.nan)
        return cls(index, cells, float(np.quantile(cloud.distances(z[cells], cells), INSIDE)))

    def distances(self, z: NDArray[np.floating], own: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Mean distance of codes to their nearest neighbours among the cells.

        Parameters
        ----------
        z
            ``(n, n_latent)``.
        own
            The cell that each code comes from, which is not counted among its neighbours.

        Returns
        -------
        ``(n,)``.
        """
        if not len(z):
            return np.zeros(0)
        distance, found = self.neighbors.kneighbors(z)
        if own is None:
            return distance[:, :-1].mean(axis=1)
        is_own = self.cells[found] == own[:, None]
        # without itself, or without the farthest where it is not among them
        is_own[~is_own.any(axis=1), -1] = True
        return distance[~is_own].reshape(len(z), -1).mean(axis=1)

    def outside(self, z: NDArray[np.floating], own: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Which codes lie farther from the cells than 99.5 % of these from each other.

        Parameters
        ----------
        z, own
            As for :meth:`distances`.

        Returns
        -------
        ``(n,)``.
        """
        return self.distances(z, own) > self.threshold
