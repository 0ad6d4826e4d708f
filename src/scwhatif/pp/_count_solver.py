"""Integers behind log1p-normalised values: interval arithmetic on arrays, for :func:`scwhatif.pp.recover_counts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import pandas as pd


class Precision(NamedTuple):
    """Half-width of the interval a stored value is known to: absolute + relative × value."""

    absolute: float
    relative: float

    def interval(self, x: np.ndarray, base: float) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest normalised value that stored values `x` can stand for."""
        log_base = np.log(base)
        value = np.expm1(x * log_base)
        error = (1.0 + value) * log_base * (self.absolute + self.relative * x)
        return np.maximum(value - error, np.finfo(np.float64).tiny), value + error


class Cells(NamedTuple):
    """Solution for a run of cells."""

    counts: sparse.csr_matrix
    divisor: np.ndarray
    smallest: np.ndarray
    deviation: np.ndarray
    ok: np.ndarray
    coarse: np.ndarray


class _Fit(NamedTuple):
    """Integers for the entries of some cells, the cells one after the other."""

    counts: np.ndarray
    divisor: np.ndarray
    deviation: np.ndarray
    consistent: np.ndarray
    decided: np.ndarray


def to_csr(block: Any) -> sparse.csr_matrix:
    """Copy in float64 without stored zeros."""
    matrix = sparse.csr_matrix(block, dtype=np.float64, copy=True)
    matrix.eliminate_zeros()
    return matrix


def _fit(low: np.ndarray, high: np.ndarray, lengths: np.ndarray, k: int) -> _Fit:
    """Intersect intervals of the divisor until every entry stands for one integer, taking the smallest as `k`."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    cell = np.repeat(np.arange(len(lengths)), lengths)
    lo, hi = np.minimum.reduceat(low, starts) / k, np.minimum.reduceat(high, starts) / k
    n_open_before = -1
    while True:
        # 1e-6 outweighs float64 rounding where an entry defines the very bound it is compared with
        first = np.maximum(np.ceil(low / hi[cell] - 1e-6), 1.0)
        last = np.floor(high / lo[cell] + 1e-6)
        consistent = ~np.logical_or.reduceat(first > last, starts) & (lo <= hi * (1 + 1e-12))
        undecided = (first < last) & consistent[cell]
        n_open = int(undecided.sum())
        if n_open == n_open_before:
            break
        n_open_before = n_open
        single = first == last
        lo = np.maximum(lo, np.maximum.reduceat(np.where(single, low / first, 0.0), starts))
        hi = np.minimum(hi, np.minimum.reduceat(np.where(single, high / first, np.inf), starts))
    divisor = (lo + hi) / 2
    deviation = np.maximum.reduceat(np.abs((low + high) / 2 / divisor[cell] - first), starts)
    return _Fit(first, divisor, deviation, consistent, ~np.logical_or.reduceat(undecided, starts))


def solve(x: sparse.csr_matrix, base: float, precision: Precision, max_smallest: int) -> Cells:
    low, high = precision.interval(x.data, base)
    n_cells, lengths = x.shape[0], np.diff(x.indptr)
    counts = np.zeros(x.nnz)
    divisor, deviation = np.full(n_cells, np.nan), np.zeros(n_cells)
    smallest = np.zeros(n_cells, dtype=np.int64)
    coarse = np.zeros(n_cells, dtype=bool)
    pending = lengths > 0
    for k in range(1, max_smallest + 1):
        if not pending.any():
            break
        entries = np.repeat(pending, lengths)
        fit = _fit(low[entries], high[entries], lengths[pending], k)
        rows = np.flatnonzero(pending)
        done = rows[fit.consistent & fit.decided]
        # a larger multiple means larger counts, hence less certain ones: no need to try it
        coarse[rows[fit.consistent & ~fit.decided]] = True
        divisor[rows], deviation[rows] = fit.divisor, fit.deviation
        counts[entries] = fit.counts
        smallest[done] = k
        pending[rows[fit.consistent]] = False
    matrix = sparse.csr_matrix((counts, x.indices, x.indptr), shape=x.shape)
    return Cells(matrix, divisor, smallest, deviation, ~pending & ~coarse, coarse)


def refusal(
    x: sparse.csr_matrix,
    cells: Cells,
    base: float,
    precision: Precision,
    max_smallest: int,
    obs_names: pd.Index,
    where: str,
    first_row: int,
) -> ValueError:
    """Say which cell is furthest from integers, and how far."""
    failed = np.flatnonzero(~cells.ok & ~cells.coarse)
    if failed.size == 0:
        row = int(np.flatnonzero(cells.coarse)[0])
        count = cells.counts[row].max()
        return ValueError(
            f"{where} is stored too coarsely to tell counts apart: cell {obs_names[row]!r} (row {first_row + row}) has "
            f"a value of about {count:.0f} counts, known to {precision.absolute + precision.relative:.2g} on the log "
            "scale. Start from the original counts, or pass the true precision as tolerance."
        )
    row, deviation, allowed = -1, -1.0, 0.0
    for r in failed:
        stored = x.data[x.indptr[r] : x.indptr[r + 1]]
        low, high = precision.interval(stored, base)
        d, a = min(_distance(low, high, k) for k in range(1, max_smallest + 1))
        if d > deviation:
            row, deviation, allowed = int(r), d, a
    return ValueError(
        f"{where} is not log1p-normalised counts: in {failed.size} of the first {first_row + x.shape[0]} cells no "
        f"divisor gives integers (smallest non-zero value tried as counts of 1 to {max_smallest}). Furthest is cell "
        f"{obs_names[row]!r} (row {first_row + row}): {deviation:.2g} from an integer, where the precision of the data "
        f"explains {allowed:.2g}. Scaled, regressed, imputed or averaged data cannot be inverted; pass the original "
        "counts or the log-normalised layer."
    )


def _distance(low: np.ndarray, high: np.ndarray, k: int) -> tuple[float, float]:
    """Largest distance from an integer with the smallest entry taken as `k`, and the error expected there."""
    value, at = (low + high) / 2, int(np.argmin(low))
    ratio = value / value[at] * k
    error = ratio * ((high - low) / 2 / value + (high[at] - low[at]) / 2 / value[at])
    distance = np.where(error < 0.5, np.abs(ratio - np.rint(ratio)), 0.0)
    worst = int(np.argmax(distance))
    return float(distance[worst]), float(error[worst])
