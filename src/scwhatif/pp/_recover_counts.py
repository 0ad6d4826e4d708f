"""Exact inversion of log1p-normalised data to integer counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scwhatif._keys import Key
from scwhatif._validation import check_finite, check_layer, check_obs_key, iter_blocks
from scwhatif.pp._count_solver import Cells, Precision, refusal, solve, to_csr

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData

# Measured on scanpy's normalize_total + log1p in float32: at most 1.7 steps, the error of the cell's total included.
_FLOAT_STEPS = 3.0
_MAX_DECIMALS = 5
_LOG_MAX = 30.0
# Rounding moves a divisor by a few per mille; for multiples up to 20 the next one is 5 % away.
_MULTIPLE_TOLERANCE = 0.02


def recover_counts(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool | None = None,
    total_counts_key: str | None = None,
    base: float | None = None,
    tolerance: float | None = None,
    max_smallest: int = 20,
    layer_added: str = Key.layers.COUNTS,
    key_added: str = Key.uns.RECOVER_COUNTS,
    copy: bool = False,
) -> AnnData | None:
    r"""Recover integer counts from log1p-normalised expression, exactly, or refuse.

    Data made by :func:`scanpy.pp.normalize_total` and :func:`scanpy.pp.log1p` hold
    :math:`x_{cg} = \log(1 + s_c n_{cg})` with integers :math:`n` and one unknown divisor :math:`s_c` per cell, found
    from the cell itself, so the target sum need not be known. Each stored value is known to an interval (its
    precision). A value that can stand for one integer only narrows the interval of :math:`s_c`, which decides further
    values, until all are decided or two contradict each other. The smallest non-zero value is tried as a count of 1,
    then 2, … `max_smallest`; the first multiple for which every value is an integer is taken.

    Parameters
    ----------
    adata
        Annotated data, ``n_obs`` × ``n_vars``; the matrix may be dense, sparse, backed or dask.
    layer
        Layer with the log-normalised data; ``None`` for ``raw`` or ``X``.
    use_raw
        Whether to read ``adata.raw``; ``None`` reads it where `layer` is ``None`` and it is set. Counts are then found
        on all genes of ``raw`` and kept for ``adata.var_names``.
    total_counts_key
        Column of ``obs`` with each cell's true total **before normalisation, over all genes it was normalised with**
        (not only those still there: the 765 genes of :func:`scanpy.datasets.pbmc68k_reduced` hold 11–28 % of
        ``n_counts``). Divisor times total is then one target sum for all cells, which verifies every divisor and
        settles cells whose counts share a common factor (all even, say), where the data alone cannot.
    base
        Base of the logarithm; ``None`` reads ``adata.uns["log1p"]["base"]`` as scanpy writes it, natural where absent.
    tolerance
        Absolute precision of the stored values. ``None`` measures it: half the last decimal where values were rounded
        to at most 5 decimals (as in pbmc68k_reduced: 3), otherwise 3 float32 steps (3 × 1.2e-7 × value). A count
        ``n`` is then known to about ``n`` × precision × (1 + 1 / (s n)), and the data are refused where that does not
        single out one integer: in float32, counts of a gene in a cell can be told apart up to about 150 000.
    max_smallest
        Largest count the smallest non-zero value of a cell may stand for.
    layer_added
        Layer to write the counts to.
    key_added
        Key of ``uns`` and prefix of the ``obs`` column to write.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None``, or the changed copy if ``copy=True``. Writes:

    ``adata.layers[layer_added]`` : CSR matrix, or array where the input was dense (``n_obs`` × ``n_vars``, float32)
        The counts: whole numbers, as float32 because scvi-tools and scanpy compute in it (exact up to 2**24).
    ``adata.obs[f"{key_added}_divisor"]`` : float64
        Normalised value of a single count, :math:`s_c`; NaN for cells without any count.
    ``adata.uns[key_added]`` : dict
        ``params``; ``max_deviation`` (largest distance of a normalised value over divisor from its count) and
        ``max_deviation_cell``; ``tolerance`` (absolute and relative); ``n_cells_smallest_above_one``, the cells whose
        smallest value stands for a count above 1 (more than a few where 1 is common call for a closer look); with
        `total_counts_key` also ``target_sum`` and ``n_cells_common_factor``, the cells settled by their total.

    Raises
    ------
    ValueError
        The data are negative, not finite, already integers, not recoverable (scaled, regressed, imputed, averaged), too
        coarse to tell counts apart, or at odds with the totals. The largest deviation and its cell are named.
    KeyError
        `layer`, `total_counts_key` or a gene does not exist, or ``use_raw=True`` without ``raw``.

    Notes
    -----
    Without totals a cell's counts are known up to a common factor: a cell with counts 2, 4, 6 comes back as 1, 2, 3.
    One cell with a count of 1 anywhere is proof against this for that cell, so it is rare unless genes were dropped.

    Examples
    --------
    >>> import numpy as np, anndata as ad, scwhatif as wi
    >>> counts = np.array([[1, 0, 3, 7], [2, 3, 0, 9]])
    >>> adata = ad.AnnData(np.log1p(counts / counts.sum(1, keepdims=True) * 1e4))
    >>> wi.pp.recover_counts(adata)
    >>> adata.layers["counts"]
    array([[1., 0., 3., 7.],
           [2., 3., 0., 9.]], dtype=float32)
    """
    if copy:
        adata = adata.copy()
    x, var_names, where = _source(adata, layer, use_raw=use_raw)
    columns = _columns(var_names, adata.var_names)
    totals = None if total_counts_key is None else _totals(adata, total_counts_key)
    base = _log_base(adata, base)
    measured = _measure(x, where, base)
    precision = measured if tolerance is None else Precision(tolerance, 4 * float(np.finfo(np.float64).eps))

    solved: list[Cells] = []
    dense, row = False, 0
    for block in _row_blocks(x):
        dense = not sparse.issparse(block)
        matrix = to_csr(block)
        cells = solve(matrix, base, precision, max_smallest)
        if not cells.ok.all():
            raise refusal(matrix, cells, base, precision, max_smallest, adata.obs_names[row:], where, row)
        solved.append(cells)
        row += matrix.shape[0]
    counts = sparse.vstack([cells.counts for cells in solved], format="csr")
    divisor, deviation, smallest = (
        np.concatenate([getattr(cells, part) for cells in solved]) for part in ("divisor", "deviation", "smallest")
    )

    found: dict[str, Any] = {}
    if totals is not None:
        column = f"adata.obs[{total_counts_key!r}]"
        factor, target = _common_factor(divisor, smallest, totals, adata.obs_names, column)
        counts = sparse.csr_matrix(counts.multiply(factor[:, None]))
        divisor, deviation, smallest = divisor / factor, deviation * factor, smallest * factor
        found = {"target_sum": target, "n_cells_common_factor": int((factor > 1).sum())}
        _check_totals(counts, totals, adata.obs_names, column)

    counts = counts[:, columns].astype(np.float32)
    adata.layers[layer_added] = counts.toarray() if dense else counts
    adata.obs[f"{key_added}_divisor"] = divisor
    worst = int(np.argmax(deviation))
    adata.uns[key_added] = {
        "params": {
            "source": where,
            "base": base,
            "total_counts_key": total_counts_key or "",
            "max_smallest": max_smallest,
            "layer_added": layer_added,
        },
        "tolerance": {"absolute": precision.absolute, "relative": precision.relative},
        "max_deviation": float(deviation[worst]),
        "max_deviation_cell": str(adata.obs_names[worst]),
        "n_cells_smallest_above_one": int((smallest > 1).sum()),
        **found,
    }
    return adata if copy else None


def _source(adata: AnnData, layer: str | None, *, use_raw: bool | None) -> tuple[Any, pd.Index, str]:
    if use_raw and layer is not None:
        msg = f"use_raw=True and layer={layer!r} exclude each other; give one of them."
        raise ValueError(msg)
    if use_raw and adata.raw is None:
        msg = "use_raw=True, but adata.raw is not set; name a layer, or leave use_raw=None to read adata.X."
        raise KeyError(msg)
    if layer is None and use_raw is not False and adata.raw is not None:
        return adata.raw.X, adata.raw.var_names, "adata.raw"
    check_layer(adata, layer)
    if layer is None:
        return adata.X, adata.var_names, "adata.X"
    return adata.layers[layer], adata.var_names, f"adata.layers[{layer!r}]"


def _columns(have: pd.Index, wanted: pd.Index) -> slice | np.ndarray:
    if have.equals(wanted):
        return slice(None)
    at = have.get_indexer(wanted) if have.is_unique else np.full(len(wanted), -1)
    if (at < 0).any():
        lacking = "its var_names are not unique" if not have.is_unique else f"{wanted[at < 0][0]!r} is not among them"
        msg = f"adata.raw cannot be matched to adata.var_names: {lacking}. Pass use_raw=False or a layer."
        raise KeyError(msg)
    return at


def _totals(adata: AnnData, key: str) -> np.ndarray:
    check_obs_key(adata, key, "total_counts_key")
    totals = adata.obs[key].to_numpy(dtype=np.float64)
    if not (np.isfinite(totals) & (totals > 0)).all():
        cell = adata.obs_names[~(np.isfinite(totals) & (totals > 0))][0]
        msg = f"adata.obs[{key!r}] must be positive totals, but cell {cell!r} has {adata.obs.loc[cell, key]}."
        raise ValueError(msg)
    return totals


def _log_base(adata: AnnData, base: float | None) -> float:
    if base is None:
        base = (adata.uns.get("log1p") or {}).get("base")
    if base is None:
        return float(np.e)
    if base <= 1:
        msg = f"base={base} must be greater than 1."
        raise ValueError(msg)
    return float(base)


def _row_blocks(x: Any) -> Iterator[Any]:
    """Blocks of whole rows, streamed; CSC is turned round once, as its rows cannot be streamed."""
    if getattr(x, "format", None) == "csc":
        x = (x if sparse.issparse(x) else x.to_memory()).tocsr()
    elif hasattr(x, "__dask_graph__"):
        x = x.rechunk({1: -1})
    for _, _, block in iter_blocks(x):
        yield block


def _measure(x: Any, where: str, base: float) -> Precision:
    """Precision of the stored values, after checking that they can be log1p data at all."""
    advice = "recover_counts needs log1p-normalised data; pass the matrix before scaling or regression"
    eps = float(np.finfo(np.float16 if getattr(x, "dtype", None) == np.float16 else np.float32).eps)
    decimals: int = 0
    largest = 0.0
    for _, _, block in iter_blocks(x):
        values = np.asarray(block.data if sparse.issparse(block) else block, dtype=np.float64).ravel()
        if values.size == 0:
            continue
        if not np.isfinite(values).all():
            check_finite(x, name=where)
        if values.min() < 0:
            msg = f"{where} holds negative values (smallest {values.min():.4g}). {advice} (use_raw=True or layer=…)."
            raise ValueError(msg)
        largest = max(largest, float(values.max()))
        while decimals <= _MAX_DECIMALS and (np.abs(values - values.round(decimals)) > eps * values).any():
            decimals += 1
    if largest == 0:
        msg = f"{where} holds nothing but zeros; there are no counts to recover."
        raise ValueError(msg)
    if decimals == 0:
        msg = f"{where} holds integers already; use them as counts as they are."
        raise ValueError(msg)
    if largest * np.log(base) > _LOG_MAX:
        msg = f"{where} is not on a log scale (largest value {largest:.4g}). {advice}, after sc.pp.log1p."
        raise ValueError(msg)
    return Precision(0.0, _FLOAT_STEPS * eps) if decimals > _MAX_DECIMALS else Precision(0.5 * 10.0**-decimals, eps)


def _common_factor(
    divisor: np.ndarray, smallest: np.ndarray, totals: np.ndarray, obs_names: pd.Index, where: str
) -> tuple[np.ndarray, float]:
    """Factor each cell's counts share, from divisor × total being one target sum times that factor."""
    filled = ~np.isnan(divisor)
    target = np.where(filled, divisor * totals, np.inf)
    # a corrupt value can pass for a larger smallest count; it must not move the target sum of all others
    plain = smallest == 1
    reference = target[plain].min() if plain.any() else target.min()
    factor = np.where(filled, np.maximum(np.rint(target / reference), 1.0), 1.0)
    target_sum = float(np.median((target / factor)[filled]))
    off = np.where(filled, np.abs(target / factor / target_sum - 1), 0.0)
    worst = int(np.argmax(off))
    if off[worst] > _MULTIPLE_TOLERANCE:
        msg = (
            f"{where} does not hold the totals the data were normalised with: cell {obs_names[worst]!r} implies a "
            f"target sum of {target[worst]:.6g}, the median cell {target_sum:.6g}. Give totals over all genes before "
            "normalisation, or total_counts_key=None."
        )
        raise ValueError(msg)
    return factor, target_sum


def _check_totals(counts: sparse.csr_matrix, totals: np.ndarray, obs_names: pd.Index, where: str) -> None:
    recovered = np.asarray(counts.sum(axis=1)).ravel()
    above = np.flatnonzero(recovered > totals * (1 + 1e-6))
    if above.size:
        cell = int(above[0])
        msg = (
            f"{where} is {totals[cell]:.6g} for cell {obs_names[cell]!r}, less than the {recovered[cell]:.0f} counts "
            "recovered from its genes. Give totals over all genes before normalisation, or total_counts_key=None."
        )
        raise ValueError(msg)
