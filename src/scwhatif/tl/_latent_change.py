"""How far cells move in latent space, in every unit that matters; shared by the tools that move them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._validation import check_groups
from scwhatif.tl._training_cloud import TrainingCloud

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray

    from scwhatif.tl._edited_cells import EditedCells
    from scwhatif.tl._gaussian_posterior import FactorisedPosterior

# Name under which results over all cells stand beside those of groups.
ALL_CELLS = "all"


@dataclass(frozen=True, eq=False)
class CellGroups:
    """Groups of cells that results are given for, beside all cells.

    Parameters
    ----------
    names
        ``"all"``, then the groups.
    codes
        Group of each cell, 0 for the first after ``"all"``; ``None`` if cells are not grouped.
    n_cells
        Number of cells in all.
    """

    names: list[str]
    codes: NDArray[np.int64] | None
    n_cells: int

    @classmethod
    def read(cls, adata: AnnData, groupby: str | None) -> CellGroups:
        """Read a column of ``obs``.

        Parameters
        ----------
        adata
            The cells.
        groupby
            The column; ``None`` for none.

        Returns
        -------
        The groups.

        Raises
        ------
        ValueError
            A group is called ``"all"``, or as in :func:`check_groups`.
        """
        if groupby is None:
            return cls([ALL_CELLS], None, adata.n_obs)
        groups = check_groups(adata, groupby, min_groups=1)
        if ALL_CELLS in groups.categories:
            msg = f"adata.obs[{groupby!r}] has a group called {ALL_CELLS!r}, the name of all cells together; rename it."
            raise ValueError(msg)
        return cls([ALL_CELLS, *groups.categories], np.asarray(groups.codes, dtype=np.int64), adata.n_obs)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of cells of each name."""
        return self.sums(np.ones((self.n_cells, 1)))[:, 0].astype(np.int64)

    def sums(self, values: NDArray[Any], rows: slice | NDArray[Any] = slice(None)) -> NDArray[np.float64]:
        """Sum values of cells over each name.

        Parameters
        ----------
        values
            ``(n_rows, k)``.
        rows
            The cells they belong to.

        Returns
        -------
        ``(n_names, k)``.
        """
        every = values.sum(axis=0, dtype=np.float64)[None]
        if self.codes is None:
            return every
        member = np.arange(len(self.names) - 1)[:, None] == self.codes[rows]
        return np.concatenate([every, member.astype(np.float64) @ values])


@dataclass(frozen=True, eq=False)
class LatentChange:
    """Codes of all cells before and after, one row per cell; made by :func:`latent_change`.

    Parameters
    ----------
    z
        Before, in the axes that the model reports.
    shift
        What was added; exactly 0 for cells that nothing happened to.
    distance
        Length of the shift in units of the cell's own posterior standard deviations.
    kl
        Divergence of the new from the old posterior in nats.
    """

    z: NDArray[np.float64]
    shift: NDArray[np.float64]
    distance: NDArray[np.float64]
    kl: NDArray[np.float64]

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Which cells moved."""
        return (self.shift != 0).any(axis=1)


def latent_change(
    posterior: FactorisedPosterior,
    edited: EditedCells | None,
    move: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> LatentChange:
    """Put together what edits of features and of the code do to the posteriors of cells.

    Parameters
    ----------
    posterior
        Of all cells.
    edited
        Cells encoded anew, ``None`` where no features were edited.
    move
        From codes to codes, in the axes reported, ``(n_cells, n_latent)``.

    Returns
    -------
    The change.
    """
    z = posterior.mean @ posterior.rotation
    shift = np.zeros_like(z)
    log_ratio = np.zeros_like(z)
    var = posterior.var.copy()
    if edited is not None:
        shift[edited.rows] = (edited.new_mean - edited.mean) @ posterior.rotation
        var[edited.rows] = edited.var
        log_ratio[edited.rows] = np.log(edited.new_var / edited.var)
    there = z + shift
    shift += move(there) - there
    squared = (np.square(shift @ posterior.rotation.T) / var).sum(axis=1)
    kl = 0.5 * (squared + (np.expm1(log_ratio) - log_ratio).sum(axis=1))
    return LatentChange(z, shift, np.sqrt(squared), kl)


def write_change(
    adata: AnnData, key: str, change: LatentChange, groups: CellGroups, *, seed: int
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Write what happened to every cell, and sum it up.

    Parameters
    ----------
    adata
        To write to: ``obsm["<key>_shift"]``; ``obs["<key>_norm"]``, ``["<key>_distance"]``, ``["<key>_kl"]``,
        ``["<key>_outlier"]``.
    key
        Prefix of everything written.
    change
        What happened.
    groups
        Groups of cells.
    seed
        Of the cloud, where cells are many.

    Returns
    -------
    Table with one row per group, and what the outliers were measured with.
    """
    cloud = TrainingCloud.fit(change.z, seed)
    own = np.arange(len(change.z))
    outside_before = cloud.outside(change.z, own)
    changed = change.changed
    outside = outside_before.copy()
    outside[changed] = cloud.outside((change.z + change.shift)[changed], own[changed])

    adata.obsm[f"{key}_shift"] = change.shift.astype(np.float32)
    adata.obs[f"{key}_norm"] = np.linalg.norm(change.shift, axis=1)
    adata.obs[f"{key}_distance"] = change.distance
    adata.obs[f"{key}_kl"] = change.kl
    adata.obs[f"{key}_outlier"] = outside
    n_cells, n_changed = groups.sizes, groups.sums(changed[:, None])[:, 0]
    of_changed = np.column_stack([change.distance, change.kl, outside, outside_before]) * changed[:, None]
    with np.errstate(invalid="ignore"):
        means = groups.sums(of_changed) / n_changed[:, None]
    table = pd.DataFrame(
        {
            "group": pd.Categorical(groups.names, categories=groups.names),
            "n_cells": n_cells,
            "n_changed": n_changed.astype(np.int64),
            "shift_norm": np.linalg.norm(groups.sums(change.shift) / n_cells[:, None], axis=1),
            **dict(zip(("distance", "kl", "outlier_share", "outlier_share_before"), means.T, strict=True)),
        }
    )
    table.index = table.index.astype(str)
    return table, {"outlier_threshold": cloud.threshold}
