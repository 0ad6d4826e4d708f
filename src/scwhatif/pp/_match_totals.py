"""Copies of cells brought to one sequencing depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse

# Molecules of a cell up to which listing them all is faster than drawing gene by gene.
_MANY = 10**6


def match_totals(
    copies: Sequence[sparse.csr_matrix], rngs: Sequence[np.random.Generator]
) -> tuple[list[sparse.csr_matrix], np.ndarray]:
    """Draw molecules without replacement from every cell down to the smallest total among its copies.

    Returns the copies, the smallest untouched, and the totals they now share.
    """
    totals = np.stack([_row_totals(copy) for copy in copies])
    target = totals.min(axis=0)
    matched = []
    for matrix, total, rng in zip(copies, totals, rngs, strict=True):
        drawn = matrix.copy()
        for row in np.flatnonzero(total > target):
            entries = slice(drawn.indptr[row], drawn.indptr[row + 1])
            molecules = drawn.data[entries].round().astype(np.int64)
            method: Literal["count", "marginals"] = "count" if total[row] < _MANY else "marginals"
            drawn.data[entries] = rng.multivariate_hypergeometric(molecules, target[row], method=method)
        drawn.eliminate_zeros()
        matched.append(drawn)
    return matched, target


def _row_totals(matrix: sparse.csr_matrix) -> np.ndarray:
    # summed as integers: in float32 a total above 2**24 would be rounded
    molecules = np.concatenate([[0], np.cumsum(matrix.data.round().astype(np.int64))])
    return np.diff(molecules[matrix.indptr])
