"""Applies edits to columns of a dense or sparse matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from scwhatif.perturbation._edit import Edit

MatrixT = TypeVar("MatrixT")


def apply_columns(
    x: MatrixT, pairs: Iterable[tuple[int, Edit]], rng: np.random.Generator | int | None = None, *, clip: bool = True
) -> MatrixT:
    """Return a copy of a matrix with the edited columns replaced.

    Parameters
    ----------
    x
        Observations by columns: array, CSR or CSC. Never changed.
    pairs
        ``(column, edit)``; edits of one column are carried out in this order.
    rng
        Generator or seed for ``thin``. Columns draw one after the other, in the order in which ``pairs`` first names
        them, so that dense and sparse data agree.
    clip
        As in :meth:`Edit.apply`.

    Returns
    -------
    A matrix of the same format. The dtype changes only where an edit turns integers into fractions. Sparse results
    store no zeros.

    Raises
    ------
    ValueError
        If an edit thins and there is no ``rng``, or as in :meth:`Edit.apply`.
    TypeError
        If ``x`` is of another type.
    """
    plan: dict[int, list[Edit]] = {}
    for column, edit in pairs:
        plan.setdefault(column, []).append(edit)
    if rng is None:
        thinning = next((edit for edits in plan.values() for edit in edits if edit.op == "thin"), None)
        if thinning is not None:
            msg = f"{thinning} draws at random: pass rng=, a seed or a numpy Generator"
            raise ValueError(msg)
    else:
        rng = np.random.default_rng(rng)
    edited: Any = (
        _on_dense(x, plan, rng, clip=clip) if isinstance(x, np.ndarray) else _on_sparse(x, plan, rng, clip=clip)
    )
    return edited


def n_columns_of(x: object) -> int:
    """Return the number of columns of a matrix, or raise if it is none."""
    shape: tuple[int, ...] = getattr(x, "shape", ())
    if len(shape) != 2:
        msg = f"expected a matrix of two dimensions, got shape {shape} from {type(x).__name__}"
        raise ValueError(msg)
    return shape[1]


def _chain(values: NDArray[Any], edits: Sequence[Edit], rng: np.random.Generator | None, *, clip: bool) -> NDArray[Any]:
    for edit in edits:
        values = edit.apply(values, rng, clip=clip)
    return values


def _on_dense(
    x: NDArray[Any], plan: dict[int, list[Edit]], rng: np.random.Generator | None, *, clip: bool
) -> NDArray[Any]:
    # np.asarray turns subclasses, such as views into an AnnData, into plain arrays.
    plain = np.asarray(x)
    columns = {column: _chain(plain[:, column], edits, rng, clip=clip) for column, edits in plan.items()}
    edited = plain.astype(np.result_type(plain.dtype, *(values.dtype for values in columns.values())), copy=True)
    for column, values in columns.items():
        edited[:, column] = values
    return edited


def _on_sparse(x: Any, plan: dict[int, list[Edit]], rng: np.random.Generator | None, *, clip: bool) -> Any:
    from scipy import sparse

    # Named explicitly, not type(x), because views into an AnnData are subclasses that cannot be built from arrays.
    formats = (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array)
    matrix_type = next((candidate for candidate in formats if isinstance(x, candidate)), None)
    if matrix_type is None:
        msg = (
            f"expected a numpy array or a scipy CSR or CSC matrix, got {type(x).__name__}; convert it, e.g. by .tocsr()"
        )
        raise TypeError(msg)
    base = matrix_type(x, copy=True)
    base.sum_duplicates()
    stored = _stored_entries(base, list(plan))
    in_place: list[tuple[NDArray[Any], NDArray[Any]]] = []
    filled: list[tuple[int, NDArray[Any]]] = []
    for column, edits in plan.items():
        entries = stored[column]
        if all(edit.keeps_zeros(clip=clip) for edit in edits):
            in_place.append((entries, _chain(base.data[entries], edits, rng, clip=clip)))
            continue
        values = np.zeros(base.shape[0], base.dtype)
        values[_rows(base, entries)] = base.data[entries]
        filled.append((column, _chain(values, edits, rng, clip=clip)))

    new_dtypes = (values.dtype for _, values in (*in_place, *filled))
    data = base.data.astype(np.result_type(base.dtype, *new_dtypes), copy=False)
    for entries, values in in_place:
        data[entries] = values
    for column, _ in filled:
        data[stored[column]] = 0
    edited = matrix_type((data, base.indices, base.indptr), shape=base.shape)
    edited.eliminate_zeros()
    return matrix_type(edited + _from_columns(matrix_type, filled, edited)) if filled else edited


def _stored_entries(matrix: Any, columns: list[int]) -> dict[int, NDArray[np.intp]]:
    """Where in ``matrix.data`` the entries of each column are, rows ascending."""
    if matrix.format == "csc":
        return {column: np.arange(matrix.indptr[column], matrix.indptr[column + 1]) for column in columns}
    wanted = np.zeros(matrix.shape[1], dtype=bool)
    wanted[columns] = True
    entries = np.flatnonzero(wanted[matrix.indices])
    # A stable sort keeps the rows of one column in order.
    entries = entries[np.argsort(matrix.indices[entries], kind="stable")]
    ordered = matrix.indices[entries]
    starts, stops = np.searchsorted(ordered, columns, side="left"), np.searchsorted(ordered, columns, side="right")
    return {column: entries[a:b] for column, a, b in zip(columns, starts, stops, strict=True)}


def _rows(matrix: Any, entries: NDArray[np.intp]) -> NDArray[np.intp]:
    if matrix.format == "csc":
        return np.asarray(matrix.indices[entries])
    return np.searchsorted(matrix.indptr, entries, side="right") - 1


def _from_columns(matrix_type: Any, filled: list[tuple[int, NDArray[Any]]], like: Any) -> Any:
    rows = [np.flatnonzero(values) for _, values in filled]
    data = np.concatenate([values[kept] for (_, values), kept in zip(filled, rows, strict=True)])
    columns = np.repeat([column for column, _ in filled], [len(kept) for kept in rows])
    return matrix_type((data, (np.concatenate(rows), columns)), shape=like.shape, dtype=like.dtype)
