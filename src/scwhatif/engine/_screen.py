"""Many perturbations of every cell, reduced to sums per perturbation and group as the data stream by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scwhatif.engine._feature_counts import FeatureCounts
from scwhatif.engine._item_table import Item, ItemTable
from scwhatif.engine._read_rows import by_rows, read_rows
from scwhatif.engine._screen_shard import Library, ShardTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from scwhatif.engine._encoder_plan import EncoderPlan
    from scwhatif.engine._screen_store import ScreenStore

# Cells of a chunk: as many as keep their hidden units in a second-level cache, fewer where the encoder or an edit
# needs the cells dense.
_CHUNK_CELLS = 1024
_CHUNK_ENTRIES = 2**24
_CHUNK_ENTRIES_EDITED = 2**22
# A shard is what one worker does at a time and what one checkpoint adds: some chunks, but not all there are.
_SHARDS, _SHARD_CHUNKS = 8, 8


@dataclass(frozen=True, eq=False)
class ScreenSums:
    """Sums over the cells of a group; cells that an item leaves as they are contribute exactly 0.

    Parameters
    ----------
    shift
        Of the change of the posterior mean, ``(n_items, n_groups, n_latent)``.
    distance
        Of its length in units of the cell's own posterior standard deviations, ``(n_items, n_groups)``.
    kl
        Of the Kullback-Leibler divergence of the edited from the original posterior in nats, ``(n_items, n_groups)``.
    counts
        What the data alone say.
    pairs
        Distance of every pair of the items kept, cells × kept items, in the order of ``keep``; ``None`` where none
        are or a store has them. A pair is stored even if nothing moved.
    """

    shift: NDArray[np.float64]
    distance: NDArray[np.float64]
    kl: NDArray[np.float64]
    counts: FeatureCounts
    pairs: sparse.csr_matrix | None = None

    @property
    def n_changed(self) -> NDArray[np.int64]:
        """Cells in which an item changes a value, ``(n_items, n_groups)``."""
        return self.counts.n_changed


@dataclass(frozen=True, eq=False)
class Screen:
    """Carry out each perturbation alone on the cells as they are, and see where the encoder puts them.

    Only pairs of a cell and an item that changes it are encoded. Data are streamed by rows, so they may be dense, CSR,
    CSC, on disk or in dask; memory is that of a shard of cells and of the sums. Shards are mapped over joblib's
    workers and reduced in their order: results depend neither on the number of workers nor, beyond rounding, on how
    cells are chunked.

    Parameters
    ----------
    plan
        The encoder.
    x
        Cells × features, untransformed.
    fields
        Other registered fields by their key, row by row like ``x``.
    groups
        Group of each cell, 0 to ``n_groups - 1``.
    n_groups
        Number of groups.
    items
        Perturbations resolved to columns. Those that share genes should be neighbours.
    within
        Groups to whose cells each item is confined, ``(n_items, n_groups)``, bool; ``None`` confines none.
    library
        ``"original"`` leaves the other features of a cell as they are; ``"renorm"`` rescales the edited cell to the
        total it had.
    seed
        For edits that draw. The draws of a cell depend on the seed and its row alone.
    chunk_cells
        Cells encoded at once; ``None`` chooses.
    batch_size
        Pairs encoded at once where there is no compiled loop; ``None`` chooses for the plan's device.
    n_jobs
        Workers, as joblib understands it: ``None`` is 1 unless :class:`joblib.parallel_config` says otherwise.
    keep
        Items whose distances are kept pair by pair; ``None`` for none.
    store
        Where to keep checkpoints, and the pairs.
    track
        Wraps the iteration over shards, for instance in a progress bar.
    """

    plan: EncoderPlan
    x: Any
    fields: Mapping[str, NDArray[Any]]
    groups: NDArray[np.int64]
    n_groups: int
    items: Sequence[Item]
    within: NDArray[np.bool_] | None = None
    library: Library = "original"
    seed: int = 0
    chunk_cells: int | None = None
    batch_size: int | None = None
    n_jobs: int | None = None
    keep: NDArray[np.int64] | None = None
    store: ScreenStore | None = None
    track: Callable[[range], Iterable[int]] = iter

    def count(self) -> FeatureCounts:
        """Count cells per feature, item and group, in one pass over the data, without encoding any.

        Returns
        -------
        The counts.
        """
        task, size = self._task()
        counts = FeatureCounts.zeros(self.plan.n_features, len(self.items), self.n_groups)
        starts = range(0, len(self.groups), size)
        for found in self._map(task.count, starts, size, with_fields=False):
            counts.add(found)
        return counts

    def run(self) -> ScreenSums:
        """Encode every pair of a cell and an item that changes it, in one pass over the data.

        Returns
        -------
        The sums.

        Raises
        ------
        ValueError
            The store holds another screen, one of other data included, or was damaged.
        """
        task, size = self._task()
        n_latent = self.plan.n_latent
        effects = np.zeros((len(self.items), self.n_groups, n_latent + 2))
        counts = FeatureCounts.zeros(self.plan.n_features, len(self.items), self.n_groups)
        seen = np.zeros(1, np.uint64)
        totals = {"effects": effects, "seen": seen, **vars(counts)}
        pairs: list[sparse.csr_matrix] = []
        done = 0
        if self.store is not None:
            width = None if self.keep is None else len(self.keep)
            done = self.store.resume(totals, self._fingerprint(task, size), n_kept=width)
            again = sum(self._map(task.digest, range(0, done, size), size, with_fields=False), np.zeros(1, np.uint64))
            if again != seen:
                msg = (
                    f"store={str(self.store.path)!r} holds another screen, which differs in data (cells that are done "
                    "there have other values here). Choose another path."
                )
                raise ValueError(msg)
        starts = range(done, len(self.groups), size)
        for start, shard in zip(self.track(starts), self._map(task.run, starts, size, with_fields=True), strict=True):
            counts.add(shard.counts)
            effects += shard.effects
            seen += shard.digest
            if self.store is not None:
                stop = min(start + size, len(self.groups))
                self.store.add(stop, totals, shard.pairs, last=stop == len(self.groups))
            elif shard.pairs is not None:
                pairs.append(shard.pairs)
        return ScreenSums(
            effects[..., :n_latent],
            effects[..., n_latent],
            effects[..., n_latent + 1],
            counts,
            sparse.vstack(pairs, format="csr") if pairs else None,
        )

    def _task(self) -> tuple[ShardTask, int]:
        """What every shard does, and how many cells a shard has."""
        table = ItemTable.from_items(self.items)
        chunk_cells = self.chunk_cells or self._default_chunk(table)
        n_chunks = -(-len(self.groups) // chunk_cells)
        size = chunk_cells * int(np.clip(n_chunks // _SHARDS, 1, _SHARD_CHUNKS))
        task = ShardTask(
            plan=self.plan,
            table=table,
            n_groups=self.n_groups,
            within=self.within,
            library=self.library,
            seed=self.seed,
            chunk_cells=chunk_cells,
            batch_size=self.batch_size,
            keep=self.keep,
            fingerprint=self.store is not None,
        )
        return task, size

    def _default_chunk(self, table: ItemTable) -> int:
        dense = table.n_dense(signed=self.plan.signed)
        limits = (_CHUNK_CELLS, _CHUNK_ENTRIES // self.plan.n_features, _CHUNK_ENTRIES_EDITED // max(dense, 1))
        return max(1, min(limits))

    def _map(self, work: Callable[..., Any], starts: range, size: int, *, with_fields: bool) -> Iterator[Any]:
        """Work done on each shard, in order."""
        others: dict[str, Any] = {"groups": self.groups}
        if with_fields:
            others["fields"] = self.fields
        return map_shards(work, self.x, starts, size, n_jobs=self.n_jobs, **others)

    def _fingerprint(self, task: ShardTask, size: int) -> dict[str, str | int]:
        """What makes two screens the same."""
        table = task.table
        chains = repr([[(edit.op, edit.value) for edit in edits] for edits in table.chains])
        fields = [part for key in sorted(self.fields) for part in (key, self.fields[key])]
        return {
            "data": " × ".join(map(str, self.x.shape)),
            "fields": _digest(*fields),
            "groups": _digest(self.groups, self.n_groups),
            "perturbations": _digest(chains, table.features, table.chain_of, table.offsets, table.columns),
            "within": _digest(self.within),
            "kept pairs": _digest(self.keep),
            "library": self.library,
            "seed": self.seed,
            "cells per chunk": task.chunk_cells,
            "cells per shard": size,
        }


def map_shards(
    work: Callable[..., Any], x: Any, starts: range, size: int, *, n_jobs: int | None, **others: Any
) -> Iterator[Any]:
    """Read shards of cells one after the other, and have them worked on.

    Parameters
    ----------
    work
        Called with the first row of the shard, its cells, and the shard's share of ``others`` by name; can be pickled.
    x
        Cells × features.
    starts
        First row of each shard.
    size
        Cells of a shard.
    n_jobs
        Workers, as joblib understands it.
    **others
        Arrays, or dicts of arrays, with one row per cell.

    Returns
    -------
    Results in the order of the shards.
    """
    from joblib import Parallel, delayed

    rows_of = by_rows(x)

    def share(values: Any, rows: slice) -> Any:
        return {key: each[rows] for key, each in values.items()} if isinstance(values, Mapping) else values[rows]

    def shards() -> Iterator[Any]:
        for start in starts:
            rows = slice(start, min(start + size, x.shape[0]))
            shared = {name: share(values, rows) for name, values in others.items()}
            # bound, not passed: joblib puts large arguments on one Dask worker, and they would be lost with it
            yield delayed(partial(work, start, read_rows(rows_of, rows), **shared))()

    return Parallel(n_jobs=n_jobs, return_as="generator")(shards())


def _digest(*parts: Any) -> str:
    digest = sha256()
    for part in parts:
        if isinstance(part, list):
            digest.update(_digest(*part).encode())
        elif isinstance(part, np.ndarray) and part.dtype != object:
            digest.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()[:12]
