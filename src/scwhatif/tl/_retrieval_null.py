"""What retrieval scores would be if identities meant nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Queries that the shuffles are scored on.
_NULL_QUERIES = 500


def draw_evenly(
    rows: NDArray[np.int64], identity: NDArray[np.int64], most: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw rows, the same number of every identity as far as there are.

    Parameters
    ----------
    rows
        To draw from.
    identity
        Of all rows.
    most
        How many at most; ``None`` for all.
    rng
        Generator.

    Returns
    -------
    The rows drawn, in order.
    """
    if most is None or len(rows) <= most:
        return rows
    order = rng.permutation(rows)
    turn = pd.Series(identity[order]).groupby(identity[order]).cumcount().to_numpy()
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def shuffled_pval(
    codes: NDArray,
    identity: NDArray[np.int64],
    block: NDArray[np.int64] | None,
    queries: NDArray[np.int64],
    n_permutations: int,
    settings: Mapping[str, Any],
    rng: np.random.Generator,
) -> float:
    """p-value of the mean average precision when identities are exchanged.

    Cells of one identity in one exam keep a common label, because they are alike whatever the identity means. Where
    exams hold several identities (plates, donors), labels are exchanged within each exam; where every exam is of one
    identity (guides), among exams.

    Parameters
    ----------
    codes
        The embedding.
    identity, block
        Identity, and group to exchange them within, of all rows, as integers.
    queries
        Rows that ask; at most 500 of them are used.
    n_permutations
        Number of shuffles.
    settings
        Further arguments of :func:`scwhatif.metrics.retrieval_scores`.
    rng
        Generator.

    Returns
    -------
    ``(1 + k) / (1 + n)``; NaN without shuffles.
    """
    from scwhatif.metrics import retrieval_scores

    if not n_permutations:
        return np.nan
    exam = settings["exam"]
    unit, blocks = np.arange(len(identity)), np.zeros(len(identity), np.int64) if block is None else block
    if exam is not None:
        units, unit = np.unique(np.column_stack([identity, exam, blocks]), axis=0, return_inverse=True)
        unit = unit.ravel()
        if len(np.unique(units[:, 1])) < len(np.unique(units[:, :2], axis=0)):
            blocks = np.unique(np.column_stack([blocks, exam]), axis=0, return_inverse=True)[1].ravel()
    first = np.unique(unit, return_index=True)[1]
    of_unit, blocks = identity[first], blocks[first]
    shuffled = np.empty((n_permutations, len(identity)), np.int64)
    order = np.argsort(blocks, kind="stable")
    for i in range(n_permutations):
        mixed = np.empty_like(of_unit)
        mixed[order] = of_unit[np.lexsort((rng.random(len(first)), blocks))]
        shuffled[i] = mixed[unit]
    asked = draw_evenly(queries, identity, _NULL_QUERIES, rng)
    table = retrieval_scores(codes, identity, queries=asked, shuffled=shuffled, **settings)
    # a shuffle may leave a query, or all of them, without an answer
    null = table[[f"shuffled_{i}" for i in range(n_permutations)]].mean().dropna()
    return float((1 + (null >= table["ap"].mean()).sum()) / (1 + len(null)))
