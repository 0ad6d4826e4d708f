"""Held-out cell line × held-out chromosomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scwhatif._keys import Key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_LOCI = (
    (Key.obs.ENHANCER_START, Key.obs.ENHANCER_END),
    (Key.obs.PROMOTER_START, Key.obs.PROMOTER_END),
)


class ContextSplit(NamedTuple):
    """Positions of the pairs of one cell line × one fold, and of what may be learnt from.

    Parameters
    ----------
    cell_line
        The line held out.
    fold
        The fold held out, from 0.
    train
        Pairs of other lines, neither of this fold nor of the next.
    validation
        Pairs of other lines, of the next fold.
    test
        Pairs of this line and fold.
    """

    cell_line: str
    fold: int
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def chrom_folds(chroms: NDArray, n_folds: int) -> NDArray[np.int64]:
    """Deal chromosomes to folds, the largest first and each to the fold with the fewest pairs.

    Parameters
    ----------
    chroms
        Chromosome of each pair.
    n_folds
        Number of folds.

    Returns
    -------
    Fold of each pair, ``(n_pairs,)``, from 0.

    Raises
    ------
    ValueError
        There are fewer chromosomes than folds.
    """
    codes, names = pd.factorize(chroms, sort=True)
    if len(names) < n_folds:
        msg = f"n_chrom_folds={n_folds} needs at least as many chromosomes, not {len(names)}. Lower it."
        raise ValueError(msg)
    sizes = np.bincount(codes)
    fold_of, load = np.zeros(len(names), dtype=np.int64), np.zeros(n_folds, dtype=np.int64)
    for chrom in np.argsort(-sizes, kind="stable"):
        fold_of[chrom] = load.argmin()
        load[fold_of[chrom]] += sizes[chrom]
    return fold_of[codes]


def context_splits(
    lines: NDArray, folds: NDArray[np.int64], known: NDArray[np.bool_], held_out: Sequence[str]
) -> Iterator[ContextSplit]:
    """Go through every held-out line × held-out fold.

    Parameters
    ----------
    lines
        Cell line of each pair.
    folds
        Fold of each pair, from 0.
    known
        Whether its label is known; the others are in no part.
    held_out
        Lines to hold out.

    Yields
    ------
    The splits that have test pairs, by line and fold.
    """
    n_folds = int(folds.max()) + 1
    for line in held_out:
        of_line = lines == line
        for fold in range(n_folds):
            next_fold = (fold + 1) % n_folds
            test = np.flatnonzero(known & of_line & (folds == fold))
            if len(test):
                others = known & ~of_line
                train = np.flatnonzero(others & (folds != fold) & (folds != next_fold))
                yield ContextSplit(line, fold, train, np.flatnonzero(others & (folds == next_fold)), test)


def loci(obs: pd.DataFrame) -> NDArray[np.int64] | None:
    """Number the loci of pairs.

    Parameters
    ----------
    obs
        Of the pairs.

    Returns
    -------
    Number of the enhancer and of the promoter of each pair, ``(n_pairs, 2)``; ``None`` if ``obs`` has no places.
    """
    if not all(column in obs for columns in _LOCI for column in columns):
        return None
    chrom = [Key.obs.CHROM] if Key.obs.CHROM in obs else []
    return np.column_stack(
        [obs.groupby([*chrom, *columns], observed=True, sort=False).ngroup() for columns in _LOCI]
    ).astype(np.int64)


def share_of_known_loci(places: NDArray[np.int64], split: ContextSplit) -> float:
    """Share of the test pairs whose enhancer or promoter is in a training pair as well.

    Parameters
    ----------
    places
        From :func:`loci`.
    split
        The split.

    Returns
    -------
    The share.
    """
    seen = [np.isin(places[split.test, i], places[split.train, i]) for i in range(places.shape[1])]
    return float(np.logical_or(*seen).mean())
