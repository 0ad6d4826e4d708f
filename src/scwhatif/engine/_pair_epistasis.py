"""What two edits do together beyond what each does alone, over all pairs of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit

from scwhatif.engine._item_table import EditedColumns, ItemTable
from scwhatif.engine._pair_edits import PairEdits
from scwhatif.engine._pair_kernel import PairKernel
from scwhatif.engine._screen import map_shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from scipy import sparse

    from scwhatif.engine._encoder_plan import EncoderPlan
    from scwhatif.engine._fused_tail import FusedTail
    from scwhatif.perturbation import Edit

_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
_ZERO, _ONE = np.float32(0), np.float32(1)
# Cells per shard, and at least so many shards where there are cells enough.
_SHARD_CELLS, _SHARDS = 2048, 8
# Pairs whose hidden units are held at once: small enough for a BLAS to take its short way for small products.
_BLOCK_PRODUCT, _BLOCK_RANGE = 2**17, (1, 96)
# Hidden units of a batch where there is no compiled loop.
_BATCH_UNITS = 2**19
_TYPICAL_WIDTH = 128


@dataclass(frozen=True, eq=False)
class EpistasisSums:
    r"""Sums over the cells that both edits of a pair change; pairs :math:`g < h` in the order of a condensed matrix.

    Parameters
    ----------
    n_cells
        Cells that both change, ``(n_pairs,)``.
    epistasis
        Of the length of :math:`\Delta z_{gh} - \Delta z_g - \Delta z_h`, ``(n_pairs,)``; lengths are in units of the
        cell's own posterior standard deviations.
    together
        Of the length of :math:`\Delta z_{gh}`.
    additive
        Of the length of :math:`\Delta z_g + \Delta z_h`.
    """

    n_cells: NDArray[np.int64]
    epistasis: NDArray[np.float64]
    together: NDArray[np.float64]
    additive: NDArray[np.float64]


def pair_epistasis(
    plan: EncoderPlan,
    x: Any,
    fields: Mapping[str, NDArray[Any]],
    features: Sequence[int] | NDArray[np.integer],
    edit: Edit,
    *,
    seed: int = 0,
    n_jobs: int | None = None,
    track: Callable[[range], Iterable[int]] = iter,
) -> EpistasisSums:
    """Carry out an edit on every pair of features in every cell where it changes both.

    Pairs are made up cell by cell and never listed, so memory is that of the sums.

    Parameters
    ----------
    plan
        The encoder.
    x
        Cells × features, untransformed, as for :class:`Screen`.
    fields
        Other registered fields by their key.
    features
        Columns, ascending.
    edit
        A feature edit; whose name it carries does not matter.
    seed
        For an edit that draws.
    n_jobs
        Workers, as joblib understands it.
    track
        Wraps the iteration over shards of cells.

    Returns
    -------
    The sums.
    """
    table = ItemTable.from_items([((int(feature), edit),) for feature in features])
    n_cells = x.shape[0]
    size = max(1, min(_SHARD_CELLS, -(-n_cells // _SHARDS)))
    starts = range(0, n_cells, size)
    task = _EpistasisTask(plan, table, seed)
    n_pairs = len(table) * (len(table) - 1) // 2
    counts, sums = np.zeros(n_pairs, np.int64), np.zeros((n_pairs, 3))
    found = map_shards(task.run, x, starts, size, n_jobs=n_jobs, fields=fields)
    for _, (shard_counts, shard_sums) in zip(track(starts), found, strict=True):
        counts += shard_counts
        sums += shard_sums
    return EpistasisSums(counts, *sums.T)


@dataclass(frozen=True, eq=False)
class _EpistasisTask:
    """All that is the same for every shard."""

    plan: EncoderPlan
    table: ItemTable
    seed: int

    def run(
        self, first_row: int, x: sparse.csr_matrix, fields: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        edited = self.table.edit(x, first_row, signed=self.plan.signed, seed=self.seed)
        # cell by cell, features ascending
        n_items = len(self.table)
        item = np.repeat(np.arange(n_items), np.diff(edited.offsets))
        order = np.lexsort((item, edited.rows))
        starts = np.concatenate([[0], np.cumsum(np.bincount(edited.rows, minlength=x.shape[0]))])
        values = EditedColumns(
            starts.astype(np.int64), edited.rows[order], edited.features[order], edited.before[order],
            edited.after[order],
        )  # fmt: skip
        n_pairs = n_items * (n_items - 1) // 2
        counts, sums = np.zeros(n_pairs, np.int32), np.zeros((n_pairs, 3))
        tail = self.plan.fused
        if tail is None:
            self._add_batches(x, fields, values, item[order], counts, sums)
        else:
            self._add_compiled(tail, x, fields, values, item[order], counts, sums)
        return counts, sums

    def _add_compiled(
        self,
        tail: FusedTail,
        x: sparse.csr_matrix,
        fields: Mapping[str, NDArray[Any]],
        values: EditedColumns,
        item: NDArray[np.int64],
        counts: NDArray[np.int32],
        sums: NDArray[np.float64],
    ) -> None:
        kernel = PairKernel(tail, self.plan.cells(x, fields))
        n_hidden, width = tail.head.shape
        _add_cells(
            int(np.clip(_BLOCK_PRODUCT // (n_hidden * width // 2), *_BLOCK_RANGE)),
            kernel.hidden,
            kernel.weight,
            tail.layer_norm,
            np.float32(tail.eps),
            tail.scale,
            tail.shift,
            np.ascontiguousarray(tail.head[:, : width // 2].T),
            kernel.mean,
            np.sqrt(kernel.precision),
            values.offsets,
            values.features,
            self.plan.input_change(_as_pairs(values)),
            item,
            len(self.table),
            counts,
            sums,
        )

    @torch.inference_mode()
    def _add_batches(
        self,
        x: sparse.csr_matrix,
        fields: Mapping[str, NDArray[Any]],
        values: EditedColumns,
        item: NDArray[np.int64],
        counts: NDArray[np.int32],
        sums: NDArray[np.float64],
    ) -> None:
        plan = self.plan
        states = plan.cells(x, fields)
        width = _TYPICAL_WIDTH if states.hidden is None else states.hidden.shape[1]
        batch_size = max(1, _BATCH_UNITS // width)
        mean, precision = states.mean.double().cpu().numpy(), 1 / states.var.double().cpu().numpy()

        def shift(pairs: PairEdits) -> NDArray[np.float64]:
            parts = [
                plan.edited(states, pairs[at : at + batch_size])[0].double().cpu().numpy()
                for at in range(0, len(pairs), batch_size)
            ]
            return np.concatenate([np.empty((0, plan.n_latent)), *parts]) - mean[pairs.rows]

        alone = shift(_as_pairs(values))
        for cell in range(x.shape[0]):
            own = slice(values.offsets[cell], values.offsets[cell + 1])
            first, second = np.triu_indices(own.stop - own.start, 1)
            if not len(first):
                continue
            entries = own.start + np.column_stack([first, second]).ravel()
            both = PairEdits(
                np.full(len(first), cell),
                np.arange(len(first) + 1) * 2,
                values.features[entries],
                values.before[entries],
                values.after[entries],
            )
            together, additive = shift(both), alone[own][first] + alone[own][second]
            at = _condensed(item[own][first], item[own][second], len(self.table))
            counts[at] += 1
            scale = np.sqrt(precision[cell])
            for column, change in enumerate((together - additive, together, additive)):
                sums[at, column] += np.linalg.norm(change * scale, axis=1)


def _as_pairs(values: EditedColumns) -> PairEdits:
    return PairEdits(values.rows, np.arange(len(values.rows) + 1), values.features, values.before, values.after)


def _condensed(first: Any, second: Any, n: int) -> Any:
    """Position of a pair in a condensed matrix."""
    return first * n - first * (first + 1) // 2 + second - first - 1


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _add_cells(  # type: ignore[no-untyped-def]
    block, hidden, weight, layer_norm, eps, scale, shift, head, mean, inverse_sd,
    starts, features, change, item, n_items, counts, sums,
):  # fmt: skip
    n_latent, width = head.shape
    most = 0
    for cell in range(hidden.shape[0]):
        most = max(most, starts[cell + 1] - starts[cell])
    moved, act = np.empty((most, width), np.float32), np.empty((block, width), np.float32)
    # one row per latent dimension from here on, so that the innermost loops run over partners
    alone, together = np.empty((n_latent, most), np.float32), np.empty((n_latent, most), np.float32)
    for cell in range(hidden.shape[0]):
        first, n = starts[cell], starts[cell + 1] - starts[cell]
        if n < 2:
            continue
        for i in range(n):
            step, feature = change[first + i], features[first + i]
            for k in range(width):
                moved[i, k] = step * weight[feature, k]
        _encode(cell, -1, 0, n, block, hidden, moved, layer_norm, eps, scale, shift, head, mean, act, alone)
        for i in range(n - 1):
            _encode(cell, i, i + 1, n, block, hidden, moved, layer_norm, eps, scale, shift, head, mean, act, together)
            row = item[first + i] * n_items - item[first + i] * (item[first + i] + 1) // 2 - item[first + i] - 1
            _add_partners(cell, i, n, first, row, alone, together, inverse_sd, item, counts, sums)


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _encode(  # type: ignore[no-untyped-def]
    cell, fixed, start, stop, block, hidden, moved, layer_norm, eps, scale, shift, head, mean, act, out
):
    """Shift of the mean by each of some edits of a cell, together with a fixed one unless that is -1."""
    n_latent, width = head.shape
    for low in range(start, stop, block):
        n = min(block, stop - low)
        for i in range(n):
            if fixed < 0:
                for k in range(width):
                    act[i, k] = hidden[cell, k] + moved[low + i, k]
            else:
                for k in range(width):
                    act[i, k] = hidden[cell, k] + moved[fixed, k] + moved[low + i, k]
            if layer_norm:
                center = _ZERO
                for k in range(width):
                    center += act[i, k]
                center /= np.float32(width)
                square = _ZERO
                for k in range(width):
                    square += (act[i, k] - center) * (act[i, k] - center)
                norm = _ONE / np.sqrt(square / np.float32(width) + eps)
                for k in range(width):
                    act[i, k] = (act[i, k] - center) * norm * scale[k] + shift[k]
            for k in range(width):
                act[i, k] = max(act[i, k], _ZERO)
        product = np.dot(head, act[:n].T)
        for j in range(n_latent):
            for i in range(n):
                out[j, low + i] = product[j, i] - mean[cell, j]


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _add_partners(  # type: ignore[no-untyped-def]
    cell, i, n, first, row, alone, together, inverse_sd, item, counts, sums
):
    """Add what one edit does with each of the later ones of a cell."""
    size = n - i - 1
    excess, both, additive = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    for j in range(alone.shape[0]):
        unit, own = inverse_sd[cell, j], alone[j, i]
        for k in range(size):
            joint = together[j, i + 1 + k] * unit
            summed = (own + alone[j, i + 1 + k]) * unit
            excess[k] += (joint - summed) * (joint - summed)
            both[k] += joint * joint
            additive[k] += summed * summed
    for k in range(size):
        excess[k], both[k], additive[k] = np.sqrt(excess[k]), np.sqrt(both[k]), np.sqrt(additive[k])
    for k in range(size):
        at = row + item[first + i + 1 + k]
        counts[at] += 1
        sums[at, 0] += excess[k]
        sums[at, 1] += both[k]
        sums[at, 2] += additive[k]
