"""Columns of a sparse matrix read and replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray


def read_columns(matrix: sparse.csr_matrix, columns: Iterable[int]) -> dict[int, NDArray[Any]]:
    """Columns as arrays, in the dtype of the matrix."""
    wanted = list(columns)
    part = matrix[:, wanted].tocsc()
    values = {}
    for i, column in enumerate(wanted):
        entries = slice(part.indptr[i], part.indptr[i + 1])
        values[column] = np.zeros(matrix.shape[0], matrix.dtype)
        values[column][part.indices[entries]] = part.data[entries]
    return values


def replace_columns(matrix: sparse.csr_matrix, columns: Mapping[int, NDArray[Any]]) -> sparse.csr_matrix:
    """Copy with other values in some columns.

    Integers take on the dtype of the matrix; fractions turn an integer matrix into float64. Raises
    ``OverflowError`` with the value that does not fit.
    """
    if not columns:
        return matrix.copy()
    replaced = {column: _fitting(values, matrix.dtype) for column, values in columns.items()}
    dtype = np.result_type(matrix.dtype, *(values.dtype for values in replaced.values()))
    rows = [np.flatnonzero(values) for values in replaced.values()]
    data = [values[kept] for values, kept in zip(replaced.values(), rows, strict=True)]
    position = np.repeat(list(replaced), [len(kept) for kept in rows])
    new = sparse.csr_matrix((np.concatenate(data), (np.concatenate(rows), position)), shape=matrix.shape, dtype=dtype)

    touched = np.zeros(matrix.shape[1], dtype=bool)
    touched[list(replaced)] = True
    rest = matrix.astype(dtype, copy=True)
    rest.data[touched[rest.indices]] = 0
    rest.eliminate_zeros()
    return sparse.csr_matrix(rest + new)


def _fitting(values: NDArray[Any], dtype: np.dtype) -> NDArray[Any]:
    if values.dtype.kind == "f":
        return values
    cast = values.astype(dtype)
    wrong = cast.astype(np.float64) != values
    if wrong.any():
        raise OverflowError(float(values[wrong][0]))
    return cast
