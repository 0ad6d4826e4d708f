"""Which cells are held out together, and what to do where none can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif._validation import check_obs_key
from scwhatif.metrics._held_out_folds import held_out_folds

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def holdout(
    adata: AnnData, labels: pd.Categorical, label_key: str, groups: str | None, *, n_splits: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Part cells for choosing and scoring, or say why they cannot be.

    Parameters
    ----------
    adata
        The cells.
    labels
        Their labels, as from :func:`check_groups`.
    label_key
        Where these stand in ``obs``.
    groups
        Column of ``obs`` whose values are not divided; ``None`` parts cell by cell.
    n_splits
        Largest number of parts.
    seed
        Seed of the parting.

    Returns
    -------
    Part of each cell, and its value of ``groups``, both as integers from 0 (``None`` without ``groups``).

    Raises
    ------
    KeyError
        There is no such column.
    TypeError
        ``groups`` is not the name of a column.
    ValueError
        A value of ``groups`` is missing, a label occurs in one of them only, or no parting compares labels.
    """
    codes = np.asarray(labels.codes, dtype=np.int64)
    blocks = None if groups is None else _blocks(adata, labels, label_key, groups)
    folds = held_out_folds(codes, n_splits, groups=blocks, seed=seed)
    if folds is None:
        msg = (
            f"groups={groups!r} cannot be parted so that each part, and the rest, hold a label of "
            f"adata.obs[{label_key!r}] and others to compare it with. Merge labels, name a column whose values share "
            "labels, or hold out cells with groups=None."
        )
        raise ValueError(msg)
    return folds, blocks


def _blocks(adata: AnnData, labels: pd.Categorical, label_key: str, groups: str) -> NDArray[np.int64]:
    if not isinstance(groups, str):
        msg = f"groups={groups!r} must be the name of a column of adata.obs, such as the donor or the batch."
        raise TypeError(msg)
    check_obs_key(adata, groups, "groups")
    column = adata.obs[groups]
    n_missing = int(column.isna().sum())
    if n_missing:
        msg = (
            f"adata.obs[{groups!r}] is missing for {n_missing} cell(s). Name it, or leave them out with "
            f"adata[adata.obs[{groups!r}].notna()]."
        )
        raise ValueError(msg)
    for code, label in enumerate(labels.categories):
        within = column[labels.codes == code].unique()
        if len(within) == 1:
            msg = (
                f"groups={groups!r} cannot be held out: all cells of {label!r} in adata.obs[{label_key!r}] are of "
                f"{str(within[0])!r}, so nothing tells that label from it. Leave the label out, name a column in which "
                "each label has at least two values, or hold out cells with groups=None, which says nothing of a new "
                f"{groups}."
            )
            raise ValueError(msg)
    return pd.factorize(column)[0].astype(np.int64)
