"""One operation carried out on one feature after another, reduced to sums per feature and group as it streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from scwhatif.engine._encoder_plan import EncoderPlan
    from scwhatif.perturbation import Edit

# Entries of the dense shape per chunk of cells: bounds the memory of a chunk whatever the number of features.
_CHUNK_ENTRIES = 2**22
# Hidden units of a batch: on a CPU they should stay in its cache (2 MiB is three times as fast as 16 MiB), an
# accelerator wants enough work per call.
_BATCH_UNITS = {"cpu": 2**19}
_BATCH_UNITS_ACCELERATOR = 2**25


@dataclass(frozen=True, eq=False)
class FeatureCounts:
    """What the data alone say about each feature in each group of cells.

    Parameters
    ----------
    n_cells
        Cells of each group, ``(n_groups,)``.
    n_nonzero
        Cells whose value is not 0, ``(n_features, n_groups)``.
    n_changed
        Cells whose value the edit changes, ``(n_features, n_groups)``.
    total, total_abs
        Sum of the values, and of their absolute values, ``(n_features, n_groups)``.
    """

    n_cells: NDArray[np.int64]
    n_nonzero: NDArray[np.int64]
    n_changed: NDArray[np.int64]
    total: NDArray[np.float64]
    total_abs: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScreenSums:
    """Sums over the cells of a group; cells that an edit leaves as they are contribute exactly 0.

    Parameters
    ----------
    shift
        Of the change of the posterior mean, ``(n_columns, n_groups, n_latent)``.
    distance
        Of its length in units of the cell's own posterior standard deviations, ``(n_columns, n_groups)``.
    kl
        Of the Kullback-Leibler divergence of the edited from the original posterior in nats, ``(n_columns, n_groups)``.
    """

    shift: NDArray[np.float64]
    distance: NDArray[np.float64]
    kl: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureScreen:
    """Carry out one edit on each feature in turn, alone, and see where the encoder puts the cells.

    Only (cell, feature) pairs whose value changes are encoded. Data are streamed by rows, so they may be dense, CSR,
    CSC, or anything whose row slices are one of these; memory is that of a chunk of cells and of the sums. Results do
    not depend on the chunks, beyond rounding.

    Parameters
    ----------
    plan
        The encoder.
    x
        Cells × features, untransformed.
    covariates
        Batch codes, codes of further categorical covariates, continuous covariates: what
        :meth:`EncoderPlan.preactivation` takes, row by row like ``x``.
    groups
        Group of each cell, 0 to ``n_groups - 1``.
    n_groups
        Number of groups.
    edit
        A feature edit; whose name it carries does not matter.
    signed
        Whether values may be below 0.
    seed
        For an edit that draws. Draws go cell by cell, then feature by feature, over all non-zero values.
    batch_size
        Pairs encoded at once; ``None`` chooses for the plan's device.
    chunk_cells
        Cells read at once; ``None`` chooses for the number of features.
    track
        Wraps the iteration over chunks, for instance in a progress bar.
    """

    plan: EncoderPlan
    x: Any
    covariates: tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None]
    groups: NDArray[np.int64]
    n_groups: int
    edit: Edit
    signed: bool = False
    seed: int = 0
    batch_size: int | None = None
    chunk_cells: int | None = None
    track: Callable[[range], Iterable[int]] = iter

    def count(self) -> FeatureCounts:
        """Count cells per feature and group, in one pass over the data.

        Returns
        -------
        The counts.
        """
        n_cells = np.bincount(self.groups, minlength=self.n_groups)
        shape = (self.plan.n_features, self.n_groups)
        n_nonzero, n_changed = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        total, total_abs = np.zeros(shape), np.zeros(shape)
        for start, chunk, after in self._chunks(quiet=True):
            flat = chunk.indices * self.n_groups + self.groups[start + _rows(chunk)]
            for sums, weights in (
                (n_nonzero, None),
                (n_changed, after != chunk.data),
                (total, chunk.data),
                (total_abs, np.abs(chunk.data)),
            ):
                sums += np.bincount(flat, weights, sums.size).reshape(shape).astype(sums.dtype)
        if self._from_zero != 0:
            n_changed += n_cells - n_nonzero
        return FeatureCounts(n_cells, n_nonzero, n_changed, total, total_abs)

    def run(self, columns: NDArray[np.int64]) -> ScreenSums:
        """Encode every pair of a cell and a feature that the edit changes, in one pass over the data.

        Parameters
        ----------
        columns
            Features to screen, each once.

        Returns
        -------
        The sums.
        """
        device, n_bins = self.plan.device, len(columns) * self.n_groups
        n_latent = self.plan.posterior(self.plan.bias[None].clone())[0].shape[1]
        # shift, distance, divergence side by side: one scatter per batch
        sums = torch.zeros((n_bins, n_latent + 2), dtype=torch.float64, device=device)
        units = _BATCH_UNITS.get(device.type, _BATCH_UNITS_ACCELERATOR)
        batch_size = self.batch_size or max(1, units // self.plan.weight.shape[1])
        position = np.full(self.plan.n_features, -1)
        position[columns] = np.arange(len(columns))
        for start, chunk, after in self._chunks():
            stop = start + chunk.shape[0]
            rows, local, change = self._pairs(chunk, after, columns, position)
            bins = local * self.n_groups + self.groups[start + rows]
            h = self.plan.preactivation(chunk, *(c if c is None else c[start:stop] for c in self.covariates))
            mean, var = self.plan.posterior(h.clone())
            on_device = [torch.as_tensor(a, device=device) for a in (rows, columns[local], change, bins)]
            for at in range(0, len(rows), batch_size):
                batch = [values[at : at + batch_size] for values in on_device]
                sums.index_add_(0, batch[-1], self._effects(h, mean, var, *batch[:-1]))
        result = sums.cpu().numpy().reshape(len(columns), self.n_groups, n_latent + 2)
        return ScreenSums(result[..., :-2], result[..., -2], result[..., -1])

    @torch.inference_mode()
    def _effects(
        self,
        h: torch.Tensor,
        mean: torch.Tensor,
        var: torch.Tensor,
        rows: torch.Tensor,
        features: torch.Tensor,
        change: torch.Tensor,
    ) -> torch.Tensor:
        """Shift, its posterior-scaled length and the divergence of every pair, ``(n_pairs, n_latent + 2)``, float64."""
        new_mean, new_var = self.plan.encode_pairs(h, rows, features, change)
        shift = new_mean - mean.index_select(0, rows)
        old_var = var.index_select(0, rows)
        ratio = new_var / old_var
        square = (shift.square() / old_var).sum(1)
        kl = 0.5 * ((ratio - 1 - ratio.log()).sum(1) + square)
        return torch.cat([shift, square.sqrt().unsqueeze(1), kl.unsqueeze(1)], dim=1).double()

    def _pairs(
        self,
        chunk: sparse.csr_matrix,
        after: NDArray[np.float32],
        columns: NDArray[np.int64],
        position: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Row, position in ``columns`` and input change of every pair that changes."""
        rows, local = _rows(chunk), position[chunk.indices]
        kept = (local >= 0) & (after != chunk.data)
        change = self.plan.input_change(chunk.data[kept], after[kept], chunk.indices[kept])
        if self._from_zero == 0:
            return rows[kept], local[kept], change
        zero = np.ones((chunk.shape[0], len(columns)), dtype=bool)
        wanted = local >= 0
        zero[rows[wanted], local[wanted]] = False
        zero_rows, zero_local = np.nonzero(zero)
        was = np.zeros(len(zero_rows), np.float32)
        filled = self.plan.input_change(was, was + np.float32(self._from_zero), columns[zero_local])
        return (
            np.concatenate([rows[kept], zero_rows]),
            np.concatenate([local[kept], zero_local]),
            np.concatenate([change, filled]),
        )

    @property
    def _from_zero(self) -> float:
        """What the edit makes of 0."""
        if self.edit.keeps_zeros(clip=not self.signed):
            return 0.0
        return float(self.edit.apply(np.zeros(1, np.float32), clip=not self.signed)[0])

    def _chunks(self, *, quiet: bool = False) -> Iterator[tuple[int, sparse.csr_matrix, NDArray[np.float32]]]:
        """First row, float32 CSR with sorted, non-zero entries, and these entries edited."""
        x = self.x.tocsr() if sparse.issparse(self.x) and self.x.format != "csr" else self.x
        n_cells = len(self.groups)
        step = self.chunk_cells or max(1, _CHUNK_ENTRIES // self.plan.n_features)
        # a new generator for every pass, so that all passes see the same draws
        rng = np.random.default_rng(self.seed)
        starts = range(0, n_cells, step)
        for start in starts if quiet else self.track(starts):
            chunk = _as_csr(x[start : start + step])
            yield start, chunk, self.edit.apply(chunk.data, rng, clip=not self.signed).astype(np.float32)


def _as_csr(block: Any) -> sparse.csr_matrix:
    if hasattr(block, "compute"):
        block = block.compute()
    # a copy: sorting in place must not reach the caller's matrix
    chunk = sparse.csr_matrix(block, dtype=np.float32, copy=True)
    chunk.sum_duplicates()
    chunk.eliminate_zeros()
    chunk.indices = chunk.indices.astype(np.int64)
    return chunk


def _rows(chunk: sparse.csr_matrix) -> NDArray[np.int64]:
    return np.repeat(np.arange(chunk.shape[0]), np.diff(chunk.indptr))
