"""Permutation p-values that allow for the choice of the best of many columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import false_discovery_control

from scwhatif.metrics._auc import auc_of_ranks, folded

if TYPE_CHECKING:
    from numpy.typing import NDArray


def best_by_chance(
    ranks: NDArray[np.float64],
    codes: NDArray[np.int64],
    n_labels: int,
    n_permutations: int,
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """AUC of the best column for each label, whichever end separates, after shuffling the labels.

    Cells of one donor are alike, so shuffling them one by one would make any difference between donors look like one
    between labels. With ``groups``, labels that belong to whole groups are shuffled among these, and labels that vary
    within groups are shuffled within each.

    Parameters
    ----------
    ranks
        Mid-ranks within each column, ``(n_cells, n_dims)``.
    codes
        Label of each cell, integers from 0 to ``n_labels - 1``, each of which occurs.
    n_labels
        Number of labels.
    n_permutations
        Number of times the labels are shuffled.
    groups
        Group of each cell, integers from 0, or ``None``.
    seed
        Seed of the shuffling.

    Returns
    -------
    ``(n_permutations, n_labels)``.
    """
    rng = np.random.default_rng(seed)
    null = np.empty((n_permutations, n_labels))
    for i in range(n_permutations):
        null[i] = folded(auc_of_ranks(ranks, shuffled(codes, groups, rng), n_labels)).max(axis=0)
    return null


def shuffled(codes: NDArray[np.int64], groups: NDArray[np.int64] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Shuffle labels among whole groups if each is of one label, else within groups.

    Parameters
    ----------
    codes
        Label of each cell, ``(n_cells,)``.
    groups
        Group of each cell, integers from 0, each of which occurs; ``None`` is a single group.
    rng
        Generator.

    Returns
    -------
    Labels of the same cells, ``(n_cells,)``.
    """
    if groups is None:
        return rng.permutation(codes)
    of_group = np.empty(groups.max() + 1, dtype=codes.dtype)
    of_group[groups] = codes
    if (of_group[groups] == codes).all():
        return rng.permutation(of_group)[groups]
    result = np.empty_like(codes)
    # both orders list the cells group after group
    result[np.argsort(groups, kind="stable")] = codes[np.lexsort((rng.random(len(codes)), groups))]
    return result


def adjust_families(pval: NDArray[np.float64]) -> NDArray[np.float64]:
    """False discovery rate over families of p-values that hold for all members of their family at once.

    Families are selected by their smallest p-value :cite:p:`Benjamini1995`; a further member of a family is
    significant at a level where its family would still have been selected with it :cite:p:`Benjamini2014`.

    Parameters
    ----------
    pval
        ``(n_members, n_families)``.

    Returns
    -------
    Adjusted p-values of the same shape.
    """
    best = np.sort(pval.min(axis=0))
    adjusted = false_discovery_control(best)
    # the smallest level at which Benjamini–Hochberg admits p-values up to this one
    n_below = np.searchsorted(best, pval, side="right")
    at = np.minimum(pval * len(best) / np.maximum(n_below, 1), 1.0)
    later = np.append(adjusted, 1.0)[n_below]
    return np.minimum(at, later)
