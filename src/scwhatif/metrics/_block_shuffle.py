"""Shuffles of labels that respect what belongs together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

if TYPE_CHECKING:
    from numpy.typing import NDArray


def shuffled_blocks(
    codes: NDArray[np.int64], groups: NDArray[np.int64] | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Exchange labels between the cells of a group that carry one and those that carry another, as a whole.

    The cells of one group with one label (the copy of a base cell in one state, the cells of a donor under one
    treatment) are a block and keep a common label, because what sets a block apart sets all its cells apart. Where
    each group is of one label, labels are shuffled among whole groups.

    Parameters
    ----------
    codes
        Label of each cell, integers from 0, ``(n_cells,)``.
    groups
        Group of each cell, integers from 0, each of which occurs; ``None`` shuffles cell by cell.
    rng
        Generator.

    Returns
    -------
    Labels of the same cells.
    """
    if groups is None:
        return rng.permutation(codes)
    held = label_sets(codes, groups)
    if (held.sum(axis=1) == 1).all():
        return rng.permutation(held.argmax(axis=1))[groups]
    # within each group: its labels in order, and the same labels in random order
    group, label = np.nonzero(held)
    order = np.lexsort((rng.random(len(group)), group))
    exchanged = np.zeros(held.shape, dtype=np.int64)
    exchanged[group, label] = label[order]
    return exchanged[groups, codes]


def smallest_pval(codes: NDArray[np.int64], groups: NDArray[np.int64] | None, n_permutations: int) -> float:
    """Smallest p-value that as many shuffles can give of a score that does not care what labels are called.

    Parameters
    ----------
    codes, groups
        As for :func:`shuffled_blocks`.
    n_permutations
        Number of shuffles.

    Returns
    -------
    In (0, 1]: limited by the number of shuffles, or by that of distinct arrangements.
    """
    n_labels = int(codes.max()) + 1
    held = np.eye(n_labels, dtype=bool)[codes] if groups is None else label_sets(codes, groups)
    per_group = held.sum(axis=1)
    if (per_group == 1).all():
        sizes = held.sum(axis=0)
        log_arrangements = gammaln(len(held) + 1) - gammaln(sizes + 1).sum()
        # labels of equally many groups may be called by each other's names
        log_alike = gammaln(np.unique(sizes, return_counts=True)[1] + 1).sum()
    else:
        log_arrangements = gammaln(per_group + 1).sum()
        log_alike = gammaln(n_labels + 1) if held.all() else 0.0
    return float(max(1 / (1 + n_permutations), min(1.0, np.exp(log_alike - log_arrangements))))


def label_sets(codes: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which labels each group holds.

    Parameters
    ----------
    codes, groups
        As for :func:`shuffled_blocks`, with groups.

    Returns
    -------
    ``(n_groups, n_labels)``.
    """
    held = np.zeros((groups.max() + 1, codes.max() + 1), dtype=bool)
    held[groups, codes] = True
    return held
