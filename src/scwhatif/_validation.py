"""Input checks shared by every namespace: they name the offending thing and its remedy, and change nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

T = TypeVar("T")

# Entries of the dense shape per block: 4M float64 are 32 MiB, the most any check holds at once for in-memory input.
_BLOCK_ENTRIES = 2**22
# Largest distance from an integer that counts as floating-point noise.
_INTEGER_TOLERANCE = 1e-3
# exp(20) is 5e8: no log1p-transformed count exceeds this.
_LOG_MAX = 20.0
_SHOWN = 5


def _listed(items: Iterable[Any]) -> str:
    """First few items, and how many were left out."""
    items = list(items)
    shown = ", ".join(repr(str(i)) for i in items[:_SHOWN])
    return shown if len(items) <= _SHOWN else f"{shown}, … ({len(items) - _SHOWN} more)"


def _unknown_key(key: str, known: Iterable[Any], where: str, name: str) -> KeyError:
    names = [str(k) for k in known]
    lower = {n.lower(): n for n in names}
    close = [lower[c] for c in get_close_matches(str(key).lower(), lower, n=1)]
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return KeyError(f"{name}={key!r} is not in {where}.{hint} It holds: {names if names else 'nothing'}.")


def is_fractional(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are further from an integer than floating-point noise explains."""
    with np.errstate(invalid="ignore"):
        return np.abs(values - np.rint(values)) > _INTEGER_TOLERANCE


def check_at_least_one(**settings: int | None) -> None:
    """Raise ``ValueError`` for a number below 1; ``None`` passes."""
    for name, value in settings.items():
        if value is not None and value < 1:
            msg = f"{name}={value} must be at least 1."
            raise ValueError(msg)


def check_obs_key(adata: AnnData, key: str, name: str = "key") -> None:
    """Raise ``KeyError`` unless ``adata.obs`` has column `key`; `name` is the argument that carried it."""
    if key not in adata.obs.columns:
        raise _unknown_key(key, adata.obs.columns, "adata.obs", name)


def check_layer(adata: AnnData, layer: str | None) -> None:
    """Raise ``KeyError`` unless `layer` is ``None`` (meaning ``X``, which must be set) or a layer of `adata`."""
    if layer is None:
        if adata.X is None:
            msg = f"adata.X is not set; name the layer to use (adata.layers holds: {layer_names(adata)})."
            raise KeyError(msg)
    elif layer not in adata.layers:
        raise _unknown_key(layer, layer_names(adata), "adata.layers", "layer")


def layer_names(adata: AnnData) -> list[str]:
    """Names of the layers; from anndata 0.13 on, ``X`` is among them as ``None`` and is left out here."""
    return [name for name in adata.layers if name is not None]


def check_rep(adata: AnnData, use_rep: str) -> None:
    """Raise unless ``adata.obsm[use_rep]`` is there, finite and two-dimensional."""
    if use_rep not in adata.obsm:
        error = _unknown_key(use_rep, adata.obsm.keys(), "adata.obsm", "use_rep")
        msg = f"{error.args[0]} Write it with adata.obsm[{use_rep!r}] = model.get_latent_representation()."
        raise KeyError(msg)
    check_finite(adata.obsm[use_rep], name=f"adata.obsm[{use_rep!r}]")


def check_groups(adata: AnnData, key: str, *, name: str = "groupby", min_groups: int = 2) -> pd.Categorical:
    """Groups of cells named by ``adata.obs[key]``, as text, in the order of its categories, unused ones left out.

    Raises ``KeyError`` for a column that is not there, and ``ValueError`` for missing labels, for a continuous
    variable, for fewer than `min_groups` groups and for a group of a single cell.
    """
    check_obs_key(adata, key, name)
    column = adata.obs[key]
    n_missing = int(column.isna().sum())
    if n_missing:
        cells = adata.obs_names[column.isna().to_numpy()]
        msg = (
            f"adata.obs[{key!r}] is missing for {n_missing} cell(s): {_listed(cells)}. Name their group, or leave them "
            f"out with adata[adata.obs[{key!r}].notna()]."
        )
        raise ValueError(msg)
    if pd.api.types.is_float_dtype(column) and (column % 1 != 0).any():
        msg = (
            f"adata.obs[{key!r}] holds a continuous variable, not groups. Cut it into groups first, for instance with "
            "pd.qcut, or make it a category if every value is a group."
        )
        raise ValueError(msg)
    groups = pd.Categorical(column).remove_unused_categories()
    groups = groups.rename_categories([str(category) for category in groups.categories])
    if len(groups.categories) < min_groups:
        msg = f"adata.obs[{key!r}] holds only {_listed(groups.categories)}; at least {min_groups} groups are needed."
        raise ValueError(msg)
    single = groups.categories[np.bincount(groups.codes) == 1]
    if len(single):
        msg = (
            f"adata.obs[{key!r}] has group(s) of a single cell: {_listed(single)}, from which nothing can be inferred. "
            "Merge or remove them."
        )
        if 2 * len(single) > len(groups.categories):
            msg += " If this is a continuous variable made a category, cut it into groups, for instance with pd.qcut."
        raise ValueError(msg)
    return groups


def check_choices(chosen: Sequence[T], known: Sequence[T], *, name: str) -> list[T]:
    """Return what was `chosen`, each once and in the order of what is `known`; ``ValueError`` for anything else."""
    if isinstance(chosen, str) or not set(chosen) <= set(known):
        msg = f"{name}={chosen!r} must be a list of some of {list(known)}, which may be empty."
        raise ValueError(msg)
    return [each for each in known if each in chosen]


def iter_blocks(x: Any, *, max_entries: int = _BLOCK_ENTRIES) -> Iterator[tuple[int, int, Any]]:
    """Stream a matrix as in-memory blocks without densifying it.

    Rows are streamed; CSC (in memory or backed) is streamed over columns and dask over its own chunks, because
    anything else would read the whole matrix once per block.

    Parameters
    ----------
    x
        Array, sparse matrix, data frame, backed AnnData matrix (HDF5 or zarr) or dask array, two-dimensional.
    max_entries
        Entries of the dense shape per block.

    Yields
    ------
    First row, first column, and the block as :class:`numpy.ndarray` or CSR/CSC matrix.
    """
    if isinstance(x, pd.DataFrame):
        x = x.to_numpy()
    if sparse.issparse(x) and x.format not in {"csr", "csc"}:
        x = x.tocsr()
    n_rows, n_cols = x.shape
    if hasattr(x, "__dask_graph__"):
        row_edges, col_edges = (np.concatenate([[0], np.cumsum(c)]) for c in x.chunks)
        for i, row in enumerate(row_edges[:-1]):
            for j, col in enumerate(col_edges[:-1]):
                yield int(row), int(col), _as_block(x.blocks[i, j].compute())
    elif getattr(x, "format", None) == "csc":
        step = max(1, max_entries // max(n_rows, 1))
        for col in range(0, n_cols, step):
            yield 0, col, _as_block(x[:, col : col + step])
    else:
        step = max(1, max_entries // max(n_cols, 1))
        for row in range(0, n_rows, step):
            yield row, 0, _as_block(x[row : row + step])


def _as_block(block: Any) -> Any:
    if not sparse.issparse(block):
        return np.asarray(block)
    return block if block.format in {"csr", "csc"} else block.tocsr()


@dataclass
class _Scan:
    """What one pass over a matrix found; positions are the lowest (row, column)."""

    n_cells: int
    n_nonfinite: int = 0
    n_negative: int = 0
    n_fractional: int = 0
    nonfinite_at: tuple[int, int] | None = None
    negative_at: tuple[int, int] | None = None
    fractional_at: tuple[int, int] | None = None
    maximum: float = 0.0
    log_total: float | None = None
    nonzero_per_cell: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.nonzero_per_cell = np.zeros(self.n_cells, dtype=np.int64)

    def note(self, kind: str, mask: np.ndarray, block: Any, origin: tuple[int, int]) -> None:
        """Count the entries in `mask` as `kind` and remember the first of them."""
        n = int(np.count_nonzero(mask))
        if n == 0:
            return
        setattr(self, f"n_{kind}", getattr(self, f"n_{kind}") + n)
        rows, cols = _positions(block, mask)
        first = np.lexsort((cols, rows))[0]
        here = (origin[0] + int(rows[first]), origin[1] + int(cols[first]))
        before = getattr(self, f"{kind}_at")
        setattr(self, f"{kind}_at", here if before is None else min(before, here))


def _positions(block: Any, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the stored entries of `block` that `mask` selects."""
    if not sparse.issparse(block):
        rows, cols = np.nonzero(mask)
        return rows, cols
    stored = np.flatnonzero(mask)
    major = np.searchsorted(block.indptr, stored, side="right") - 1
    minor = block.indices[stored]
    return (major, minor) if block.format == "csr" else (minor, major)


def _nonzero_per_row(block: Any) -> np.ndarray:
    if not sparse.issparse(block):
        return np.count_nonzero(block, axis=1)
    if block.format == "csc":
        return np.bincount(block.indices[block.data != 0], minlength=block.shape[0])
    return np.diff(np.concatenate([[0], np.cumsum(block.data != 0)])[block.indptr])


def _log_total(block: Any) -> float | None:
    """Total to which ``expm1`` of every cell adds up, ``None`` where cells differ by more than 1 %."""
    total = np.asarray(np.expm1(block).sum(axis=1), dtype=np.float64).ravel()
    total = total[total > 0]
    if total.size < 2 or np.ptp(total) > 0.01 * total.mean():
        return None
    return float(total.mean())


def _scan(x: Any, *, name: str, finite_only: bool = False) -> _Scan:
    if getattr(x, "ndim", 2) != 2:
        msg = f"{name} must have two dimensions (cells × features), not {x.ndim}."
        raise ValueError(msg)
    found = _Scan(x.shape[0])
    for row, col, block in iter_blocks(x):
        values = block.data if sparse.issparse(block) else block
        if values.dtype.kind not in "iufb":
            msg = f"{name} has dtype {values.dtype}; convert it to numbers, for instance with .astype('float32')."
            raise TypeError(msg)
        origin = (row, col)
        if values.dtype.kind == "f":
            found.note("nonfinite", ~np.isfinite(values), block, origin)
        if finite_only or values.size == 0:
            continue
        found.note("negative", values < 0, block, origin)
        if values.dtype.kind == "f":
            found.note("fractional", is_fractional(values), block, origin)
        found.maximum = max(found.maximum, float(np.max(values)))
        if found.n_fractional and found.log_total is None and block.shape[1] == x.shape[1] and found.maximum < _LOG_MAX:
            found.log_total = _log_total(block)
        found.nonzero_per_cell[row : row + block.shape[0]] += _nonzero_per_row(block)
    return found


def _place(at: tuple[int, int] | None) -> str:
    return "" if at is None else f"row {at[0]}, column {at[1]}"


def _raise_nonfinite(found: _Scan, name: str) -> None:
    if found.n_nonfinite:
        msg = (
            f"{name} holds {found.n_nonfinite} NaN or infinite value(s), the first at {_place(found.nonfinite_at)}. "
            "Remove these cells or features, or fill the values, first."
        )
        raise ValueError(msg)


def _raise_not_counts(found: _Scan, name: str) -> None:
    _raise_nonfinite(found, name)
    if found.n_negative:
        msg = (
            f"{name} holds {found.n_negative} negative value(s), the first at {_place(found.negative_at)}, so it "
            "is not counts (scaled or regressed data?). Pass the raw counts, for instance layer='counts'."
        )
        raise ValueError(msg)
    if found.n_fractional:
        what = f"{name} holds {found.n_fractional} non-integer value(s), the first at {_place(found.fractional_at)}"
        if found.maximum < _LOG_MAX:
            why = f"its largest value is {found.maximum:.3g}"
            if found.log_total is not None:
                why += f" and expm1 of every cell adds up to {found.log_total:.6g}"
            msg = (
                f"{what}, and looks log-normalised ({why}). Pass the raw counts, for instance layer='counts', or "
                "recover them with scwhatif.pp.recover_counts(adata)."
            )
        else:
            msg = (
                f"{what}. Pass the raw counts, for instance layer='counts'; round expected counts (RSEM, salmon, "
                "alevin-fry) yourself if that is what they are."
            )
        raise ValueError(msg)


def _raise_empty_cells(found: _Scan, obs_names: Sequence[str] | pd.Index, name: str) -> None:
    empty = np.flatnonzero(found.nonzero_per_cell == 0)
    if empty.size:
        msg = (
            f"{name} has {empty.size} cell(s) without any count: {_listed(np.asarray(obs_names)[empty])}. "
            "Remove them with sc.pp.filter_cells(adata, min_counts=1)."
        )
        raise ValueError(msg)


def check_counts(x: Any, *, name: str) -> None:
    """Raise ``ValueError`` unless `x` holds finite, non-negative integers (within 1e-3), in one streamed pass."""
    _raise_not_counts(_scan(x, name=name), name)


def check_finite(x: Any, *, name: str) -> None:
    """Raise ``ValueError`` if `x` holds NaN or infinity, in one streamed pass."""
    _raise_nonfinite(_scan(x, name=name, finite_only=True), name)


def check_count_matrix(x: Any, obs_names: Sequence[str] | pd.Index, name: str) -> None:
    """:func:`check_counts`, and ``ValueError`` naming the cells without any count, in a single pass over `x`."""
    found = _scan(x, name=name)
    _raise_not_counts(found, name)
    _raise_empty_cells(found, obs_names, name)


def check_batches(adata: AnnData, batch_key: str) -> None:
    """Raise unless every cell has a batch and every batch has at least two cells."""
    check_obs_key(adata, batch_key, "batch_key")
    batches = adata.obs[batch_key]
    n_missing = int(batches.isna().sum())
    if n_missing:
        cells = adata.obs_names[batches.isna().to_numpy()]
        msg = (
            f"adata.obs[{batch_key!r}] is missing for {n_missing} cell(s): {_listed(cells)}. Name their batch, or "
            f"remove them with adata[adata.obs[{batch_key!r}].notna()]."
        )
        raise ValueError(msg)
    sizes = batches.value_counts()
    single = sizes.index[(sizes == 1).to_numpy()]
    if len(single):
        msg = (
            f"adata.obs[{batch_key!r}] has batch(es) of a single cell: {_listed(single)}. A batch effect cannot be "
            "told from one cell; merge such batches or remove them."
        )
        raise ValueError(msg)


def check_var_names(adata: AnnData, expected: Sequence[str] | pd.Index, name: str = "adata") -> None:
    """Raise ``ValueError`` unless ``adata.var_names`` equals `expected`, the features of a model, in order."""
    wanted = pd.Index(expected)
    have = adata.var_names
    remedy = "Model.prepare_query_anndata(adata, model)"
    if not have.is_unique:
        twice = have[have.duplicated()].unique()
        msg = f"{name} has {len(twice)} duplicated var_names: {_listed(twice)}. Run adata.var_names_make_unique()."
        raise ValueError(msg)
    missing = wanted[~wanted.isin(have)]
    if len(missing):
        msg = (
            f"{name} lacks {len(missing)} of the {len(wanted)} features the model was trained on: {_listed(missing)}. "
            f"Fill them with zeros and put all in order with {remedy}, or check with scwhatif.pp.match_genes that the "
            "names are of one kind."
        )
        raise ValueError(msg)
    extra = have[~have.isin(wanted)]
    if len(extra):
        msg = (
            f"{name} has {len(extra)} features the model was not trained on: {_listed(extra)}. Drop them and put the "
            f"rest in order with {remedy}."
        )
        raise ValueError(msg)
    if not have.equals(wanted):
        at = int(np.flatnonzero(have.to_numpy() != wanted.to_numpy())[0])
        msg = (
            f"{name} has the model's features in another order: position {at} holds {have[at]!r}, expected "
            f"{wanted[at]!r}. Reorder with {remedy}."
        )
        raise ValueError(msg)
