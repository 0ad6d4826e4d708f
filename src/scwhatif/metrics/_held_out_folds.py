"""Parts of the cells to be held out in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Orders in which whole groups are dealt, since dealing is greedy and may end where another order does not.
_ATTEMPTS = 20


def held_out_folds(
    codes: NDArray[np.int64], n_splits: int, *, groups: NDArray[np.int64] | None = None, seed: int = 0
) -> NDArray[np.int64] | None:
    """Deal cells, or whole groups of cells, into folds in each of which labels can be compared.

    Every fold that holds a label holds other cells as well, and leaves both for training; and every label is held by
    at least two folds. Folds are as many as ``n_splits`` allows for this.

    Parameters
    ----------
    codes
        Label of each cell, integers from 0, each of which occurs, ``(n_cells,)``.
    n_splits
        Largest number of folds, at least 2.
    groups
        Group of each cell, integers from 0, of which none is divided; ``None`` deals cell by cell.
    seed
        Seed of the dealing.

    Returns
    -------
    Fold of each cell, integers from 0, or ``None`` if there is no such way to deal.

    Examples
    --------
    >>> held_out_folds(np.array([0, 0, 1, 1]), 5).tolist() in ([0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0])
    True
    >>> held_out_folds(np.array([0, 0, 1, 1]), 5, groups=np.array([0, 0, 1, 1])) is None
    True
    """
    n_units = len(codes) if groups is None else len(np.unique(groups))
    for k in range(min(n_splits, n_units), 1, -1):
        for attempt in range(1 if groups is None else _ATTEMPTS):
            rng = np.random.default_rng([seed, attempt])
            if groups is None:
                folds = _dealt(codes, k, rng)
            else:
                folds = _dealt_by_group(codes, groups, k, rng, largest_first=attempt == 0)
            if _comparable(codes, folds, k):
                return folds
    return None


def _dealt(codes: NDArray[np.int64], k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    shuffled = rng.permutation(len(codes))
    # in turn, label after label, so that folds are of one size and labels are spread evenly
    folds = np.empty(len(codes), dtype=np.int64)
    folds[shuffled[np.argsort(codes[shuffled], kind="stable")]] = np.arange(len(codes)) % k
    return folds


def _dealt_by_group(
    codes: NDArray[np.int64], groups: NDArray[np.int64], k: int, rng: np.random.Generator, *, largest_first: bool
) -> NDArray[np.int64]:
    """Each group to where it evens the labels' shares out most; those that differ most in labels first, if wanted."""
    counts = np.zeros((groups.max() + 1, codes.max() + 1))
    np.add.at(counts, (groups, codes), 1)
    share = counts / counts.sum(axis=0)
    dealt = np.zeros((k, share.shape[1]))
    fold_of_group = np.zeros(len(share), dtype=np.int64)
    order = rng.permutation(len(share))
    if largest_first:
        order = order[np.argsort(-share.std(axis=1)[order], kind="stable")]
    for group in order:
        uneven = [(dealt + share[group] * (np.arange(k) == fold)[:, None]).std(axis=0).sum() for fold in range(k)]
        # among folds that do equally well, the emptiest
        best = np.flatnonzero(np.isclose(uneven, min(uneven)))
        fold = best[dealt[best].sum(axis=1).argmin()]
        fold_of_group[group] = fold
        dealt[fold] += share[group]
    return fold_of_group[groups]


def _comparable(codes: NDArray[np.int64], folds: NDArray[np.int64], k: int) -> bool:
    counts = np.zeros((k, codes.max() + 1), dtype=np.int64)
    np.add.at(counts, (folds, codes), 1)
    held = counts > 0
    others = counts.sum(axis=1, keepdims=True) - counts
    left = counts.sum(axis=0) - counts
    others_left = others.sum(axis=0) - others
    usable = (others > 0) & (left > 0) & (others_left > 0)
    return bool((usable | ~held).all() and (held.sum(axis=0) >= 2).all())
