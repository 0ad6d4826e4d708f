"""Cells read a few at a time, from memory, from disk or from dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray


def by_rows(x: Any) -> Any:
    """A matrix in a form whose rows can be sliced, as :func:`read_rows` wants it.

    Parameters
    ----------
    x
        Cells × features: array, data frame, sparse matrix, AnnData's matrix on disk, or dask array.

    Returns
    -------
    The matrix itself, where that has rows. CSC has none: on disk, all of it would be read for each of them, so it is
    read once.
    """
    if getattr(x, "format", None) == "csc":
        return (x if sparse.issparse(x) else x.to_memory()).tocsr()
    return x.to_numpy() if hasattr(x, "to_numpy") else x


def read_rows(x: Any, rows: slice | NDArray[np.int64]) -> sparse.csr_matrix:
    """Read some cells of a matrix in memory, on disk or in dask.

    Parameters
    ----------
    x
        Cells × features, see :func:`by_rows`.
    rows
        Which cells.

    Returns
    -------
    float32, sorted, without duplicates and zeros; always a copy.
    """
    block = x[rows]
    if hasattr(block, "compute"):
        block = block.compute()
    # a copy: sorting in place must not reach the caller's matrix
    chunk = sparse.csr_matrix(block, dtype=np.float32, copy=True)
    chunk.sum_duplicates()
    chunk.eliminate_zeros()
    return chunk
