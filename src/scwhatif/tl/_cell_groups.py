"""Groups of cells, and the donors they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif._validation import check_obs_key

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# The group that holds all cells.
ALL_CELLS = "all"
# Fewer donors say nothing about donors.
MIN_DONORS = 3


@dataclass(frozen=True, eq=False)
class CellGroups:
    """Cells divided as finely as anything asked about them needs.

    Parameters
    ----------
    codes
        Part that each cell belongs to, ``(n_cells,)``.
    n_parts
        Number of parts; each has a cell.
    names
        Names of the groups, in order; empty if cells are not grouped.
    members
        Parts of all cells together, then of each group.
    donors
        Names of the donors; empty if they are not told apart.
    donor_of
        Donor of each part, ``(n_parts,)``.
    """

    codes: NDArray[np.int64]
    n_parts: int
    names: list[str]
    members: list[NDArray[np.int64]]
    donors: list[str]
    donor_of: NDArray[np.int64]

    @property
    def strata(self) -> list[tuple[str, NDArray[np.int64]]]:
        """Name and parts of all cells, then of each group."""
        return list(zip([ALL_CELLS, *self.names], self.members, strict=True))


def cell_groups(adata: AnnData, groupby: str | None, donor: str | None) -> CellGroups:
    """Divide cells by group and donor.

    Parameters
    ----------
    adata
        The cells.
    groupby, donor
        Columns of ``obs``, or ``None``.

    Returns
    -------
    The division.

    Raises
    ------
    KeyError
        A column does not exist.
    ValueError
        A column is missing for some cells, a group is called ``"all"``, or there are fewer than three donors.
    """
    group_codes, names = _labels(adata, groupby, "groupby", "group")
    donor_codes, donors = _labels(adata, donor, "donor", "donor")
    if ALL_CELLS in names:
        msg = f"adata.obs[{groupby!r}] has a group called {ALL_CELLS!r}, the name of all cells together; rename it."
        raise ValueError(msg)
    if donor is not None and len(donors) < MIN_DONORS:
        msg = (
            f"adata.obs[{donor!r}] has {len(donors)} donor(s); a test over donors needs at least {MIN_DONORS}. Leave "
            "donor out to compare with matched genes only."
        )
        raise ValueError(msg)
    crossed = group_codes * max(len(donors), 1) + donor_codes
    present, codes = np.unique(crossed, return_inverse=True)
    group_of, donor_of = np.divmod(present, max(len(donors), 1))
    return CellGroups(
        codes=codes.astype(np.int64),
        n_parts=max(len(present), 1),
        names=names,
        members=[np.arange(len(present)), *(np.flatnonzero(group_of == i) for i in range(len(names)))],
        donors=donors,
        donor_of=donor_of,
    )


def _labels(adata: AnnData, key: str | None, name: str, what: str) -> tuple[NDArray[np.int64], list[str]]:
    if key is None:
        return np.zeros(adata.n_obs, dtype=np.int64), []
    check_obs_key(adata, key, name)
    labels = adata.obs[key]
    n_missing = int(labels.isna().sum())
    if n_missing:
        msg = (
            f"adata.obs[{key!r}] is missing for {n_missing} cell(s). Name their {what}, or remove them with "
            f"adata[adata.obs[{key!r}].notna()]."
        )
        raise ValueError(msg)
    categories = pd.Categorical(labels).remove_unused_categories()
    return categories.codes.astype(np.int64), [str(each) for each in categories.categories]
