"""What a screen does with one shard of the cells, in whatever process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numba import njit
from scipy import sparse

from scwhatif.engine._feature_counts import FeatureCounts, count_features, count_pairs
from scwhatif.engine._item_pairs import ItemPairs, item_pairs
from scwhatif.engine._pair_edits import PairEdits
from scwhatif.engine._pair_kernel import PairKernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from scwhatif.engine._encoder_plan import CellStates, EncoderPlan
    from scwhatif.engine._item_table import EditedColumns, ItemTable

Library = Literal["original", "renorm"]

# Hidden units of a batch of pairs where there is no compiled loop: on a CPU they should stay in its cache, an
# accelerator wants enough work per call.
_BATCH_UNITS = {"cpu": 2**19}
_BATCH_UNITS_ACCELERATOR = 2**25
# For want of knowing how wide an encoder is.
_TYPICAL_WIDTH = 128


@dataclass(frozen=True, eq=False)
class ShardSums:
    """What a shard adds to a screen.

    Parameters
    ----------
    counts
        Of its cells.
    effects
        Shift, distance and divergence side by side, ``(n_items, n_groups, n_latent + 2)``.
    pairs
        Distance of every pair of the items that are kept, cells × kept items, ``None`` if none are. A pair that was
        encoded is stored even if nothing moved.
    digest
        From :meth:`ShardTask.digest`, or 0.
    """

    counts: FeatureCounts
    effects: NDArray[np.float64]
    pairs: sparse.csr_matrix | None
    digest: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class ShardTask:
    """All that is the same for every shard of a screen; can be pickled.

    Parameters
    ----------
    plan
        The encoder.
    table
        The items.
    n_groups
        Number of groups of cells.
    within
        Groups to whose cells each item is confined, ``(n_items, n_groups)``, bool; ``None`` confines none.
    library
        ``"renorm"`` scales an edited cell back to the total it had.
    seed
        Of edits that draw.
    chunk_cells
        Cells encoded at once.
    batch_size
        Pairs encoded at once where there is no compiled loop; ``None`` chooses.
    keep
        Items whose pairs are kept, in the order of the columns of :attr:`ShardSums.pairs`; ``None`` for none.
    fingerprint
        Whether to digest the cells.
    """

    plan: EncoderPlan
    table: ItemTable
    n_groups: int
    within: NDArray[np.bool_] | None
    library: Library
    seed: int
    chunk_cells: int
    batch_size: int | None
    keep: NDArray[np.int64] | None
    fingerprint: bool = False

    def digest(self, first_row: int, x: sparse.csr_matrix, groups: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Digest every value with its place in the whole data; the digests of shards add up to that of all of them.

        Parameters
        ----------
        first_row, x, groups
            As in :meth:`count`.

        Returns
        -------
        ``(1,)``.
        """
        return _digest_values(first_row, x.indptr, x.indices, x.data.view(np.uint32))

    def count(self, first_row: int, x: sparse.csr_matrix, groups: NDArray[np.int64]) -> FeatureCounts:
        """Count without encoding.

        Parameters
        ----------
        first_row
            Row of the first cell in the whole data.
        x
            The cells, float32, sorted, without zeros and duplicates.
        groups
            Group of each cell.

        Returns
        -------
        The counts.
        """
        counts = self._zeros()
        for start, chunk, chunk_groups in self._chunks(x, groups):
            count_features(chunk, chunk_groups, counts)
            for pairs in self._pairs(self._edit(chunk, first_row + start), chunk_groups):
                count_pairs(pairs.items, pairs.rows, chunk_groups, counts)
        return counts

    def run(
        self, first_row: int, x: sparse.csr_matrix, groups: NDArray[np.int64], fields: Mapping[str, NDArray[Any]]
    ) -> ShardSums:
        """Count, and encode every pair of a cell and an item that changes it.

        Parameters
        ----------
        first_row, x, groups
            As in :meth:`count`.
        fields
            Other fields of these cells.

        Returns
        -------
        Counts and sums.
        """
        plan, n_bins = self.plan, len(self.table) * self.n_groups
        counts, effects = self._zeros(), np.zeros((n_bins, plan.n_latent + 2))
        kept: list[sparse.csr_matrix] = []
        for start, chunk, chunk_groups in self._chunks(x, groups):
            count_features(chunk, chunk_groups, counts)
            edited = self._edit(chunk, first_row + start)
            chunk_fields = {key: values[start : start + chunk.shape[0]] for key, values in fields.items()}
            states = plan.cells(chunk, chunk_fields, scale_range=self._scale_range(chunk, edited, chunk_groups))
            encode = self._encoder(states, chunk, edited)
            found = []
            for pairs in self._pairs(edited, chunk_groups):
                count_pairs(pairs.items, pairs.rows, chunk_groups, counts)
                distance = encode(pairs, pairs.items * self.n_groups + chunk_groups[pairs.rows], effects)
                if self.keep is not None:
                    found.append((pairs.rows, pairs.items, distance))
            if self.keep is not None:
                kept.append(_kept_pairs(found, chunk.shape[0], len(self.table), self.keep))
        return ShardSums(
            counts,
            effects.reshape(len(self.table), self.n_groups, -1),
            sparse.vstack(kept, format="csr") if kept else None,
            self.digest(first_row, x, groups) if self.fingerprint else np.zeros(1, np.uint64),
        )

    def _zeros(self) -> FeatureCounts:
        return FeatureCounts.zeros(self.plan.n_features, len(self.table), self.n_groups)

    def _chunks(
        self, x: sparse.csr_matrix, groups: NDArray[np.int64]
    ) -> Iterator[tuple[int, sparse.csr_matrix, NDArray[np.int64]]]:
        for start in range(0, x.shape[0], self.chunk_cells):
            rows = slice(start, start + self.chunk_cells)
            yield start, x[rows], groups[rows]

    def _edit(self, chunk: sparse.csr_matrix, first_row: int) -> EditedColumns:
        return self.table.edit(chunk, first_row, signed=self.plan.signed, seed=self.seed)

    def _pairs(self, edited: EditedColumns, groups: NDArray[np.int64]) -> Iterator[ItemPairs]:
        return item_pairs(self.table, edited, groups, self.within)

    def _scale_range(
        self, chunk: sparse.csr_matrix, edited: EditedColumns, groups: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Between what factors, as logarithms, the items rescale each cell."""
        if self.library == "original":
            return None
        low, high = np.zeros(chunk.shape[0]), np.zeros(chunk.shape[0])
        total = _total(chunk)
        for pairs in self._pairs(edited, groups):
            log_scale = _log_scale(total, edited, pairs)
            np.minimum.at(low, pairs.rows, log_scale)
            np.maximum.at(high, pairs.rows, log_scale)
        return low, high

    def _encoder(self, states: CellStates, chunk: sparse.csr_matrix, edited: EditedColumns) -> _Encoder:
        tail = self.plan.fused if self.library == "original" else None
        if tail is None:
            total = _total(chunk) if self.library == "renorm" else None
            return _TorchEncoder(self.plan, states, edited, total, self.batch_size)
        n_values = len(edited.rows)
        values = PairEdits(edited.rows, np.arange(n_values + 1), edited.features, edited.before, edited.after)
        return _CompiledEncoder(PairKernel(tail, states), edited.features, self.plan.input_change(values))


class _CompiledEncoder:
    """Encodes pairs in the compiled loop."""

    def __init__(self, kernel: PairKernel, features: NDArray[np.int64], change: NDArray[np.float32]) -> None:
        self.kernel = kernel
        self.features = features
        self.change = change

    def __call__(self, pairs: ItemPairs, bins: NDArray[np.int64], effects: NDArray[np.float64]) -> NDArray[np.float32]:
        distance = np.empty(len(pairs.rows), np.float32)
        features, change = self.features[pairs.entries], self.change[pairs.entries]
        self.kernel.add(pairs.rows, pairs.offsets, features, change, bins, effects, distance)
        return distance


class _TorchEncoder:
    """Encodes pairs batch by batch, for every other plan."""

    def __init__(
        self,
        plan: EncoderPlan,
        states: CellStates,
        edited: EditedColumns,
        total: NDArray[np.float64] | None,
        batch_size: int | None,
    ) -> None:
        self.plan = plan
        self.states = states
        self.edited = edited
        self.total = total
        width = _TYPICAL_WIDTH if states.hidden is None else states.hidden.shape[1]
        units = _BATCH_UNITS.get(plan.device.type, _BATCH_UNITS_ACCELERATOR)
        self.batch_size = batch_size or max(1, units // width)

    @torch.inference_mode()
    def __call__(self, pairs: ItemPairs, bins: NDArray[np.int64], effects: NDArray[np.float64]) -> NDArray[np.float32]:
        edits = PairEdits(
            rows=pairs.rows,
            offsets=pairs.offsets,
            features=self.edited.features[pairs.entries],
            before=self.edited.before[pairs.entries],
            after=self.edited.after[pairs.entries],
            log_scale=None if self.total is None else _log_scale(self.total, self.edited, pairs).astype(np.float32),
        )
        device, distance = self.plan.device, []
        first = int(bins.min())
        sums = torch.zeros((int(bins.max()) - first + 1, effects.shape[1]), dtype=torch.float64, device=device)
        for start in range(0, len(edits), self.batch_size):
            batch = slice(start, start + self.batch_size)
            found = self._effects(edits[batch])
            sums.index_add_(0, torch.from_numpy(bins[batch] - first).to(device), found.double())
            distance.append(found[:, -2].cpu().numpy())
        effects[first : first + len(sums)] += sums.cpu().numpy()
        return np.concatenate(distance)

    def _effects(self, edits: PairEdits) -> torch.Tensor:
        rows = torch.from_numpy(edits.rows).to(self.plan.device)
        new_mean, new_var = self.plan.edited(self.states, edits)
        shift = new_mean - self.states.mean.index_select(0, rows)
        old_var = self.states.var.index_select(0, rows)
        ratio = new_var / old_var
        square = (shift.square() / old_var).sum(1)
        kl = 0.5 * ((ratio - 1 - ratio.log()).sum(1) + square)
        return torch.cat([shift, square.sqrt().unsqueeze(1), kl.unsqueeze(1)], dim=1)


_Encoder = _CompiledEncoder | _TorchEncoder


def _total(chunk: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel()


def _log_scale(total: NDArray[np.float64], edited: EditedColumns, pairs: ItemPairs) -> NDArray[np.float64]:
    """What brings the total of an edited cell back to what it was; nothing where the edit leaves no total."""
    gain = (edited.after.astype(np.float64) - edited.before)[pairs.entries]
    before = total[pairs.rows]
    after = before + np.add.reduceat(gain, pairs.offsets[:-1])
    # beyond rounding of the sum itself
    left = after > 1e-6 * before
    return np.log(np.divide(before, after, out=np.ones_like(before), where=left))


def _kept_pairs(
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]],
    n_cells: int,
    n_items: int,
    keep: NDArray[np.int64],
) -> sparse.csr_matrix:
    column = np.full(n_items, -1)
    column[keep] = np.arange(len(keep))
    if not found:
        return sparse.csr_matrix((n_cells, len(keep)), dtype=np.float32)
    rows, items, distance = (np.concatenate(values) for values in zip(*found, strict=True))
    wanted = column[items] >= 0
    pairs = (distance[wanted], (rows[wanted], column[items[wanted]]))
    return sparse.csr_matrix(pairs, shape=(n_cells, len(keep)), dtype=np.float32)


@njit(nogil=True, cache=True)
def _digest_values(first_row, indptr, indices, bits):  # type: ignore[no-untyped-def]
    """Sum of hashes (the finaliser of SplitMix64), so that neither order nor chunks matter."""
    total = np.zeros(1, np.uint64)
    for row in range(indptr.size - 1):
        place = _scrambled(np.uint64(first_row + row))
        for at in range(indptr[row], indptr[row + 1]):
            total[0] += _scrambled(place ^ (np.uint64(indices[at]) << np.uint64(32) | np.uint64(bits[at])))
    return total


@njit(nogil=True, cache=True)
def _scrambled(x):  # type: ignore[no-untyped-def]
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
