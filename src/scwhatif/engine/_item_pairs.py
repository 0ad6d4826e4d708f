"""Which cells each perturbation changes, spelled out batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scwhatif.engine._item_table import EditedColumns, ItemTable


@dataclass(frozen=True, eq=False)
class ItemPairs:
    """Pairs of a cell and an item that changes it, item after item, cells ascending.

    Parameters
    ----------
    items, rows
        Item and row of each pair, ``(n_pairs,)``.
    offsets
        Entries of pair ``i`` are ``offsets[i]`` to ``offsets[i + 1]``, ``(n_pairs + 1,)``.
    entries
        Index into the values of the edited columns, ``(n_entries,)``.
    """

    items: NDArray[np.int64]
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    entries: NDArray[np.int64]


def item_pairs(
    table: ItemTable,
    edited: EditedColumns,
    groups: NDArray[np.int64],
    within: NDArray[np.bool_] | None = None,
    *,
    max_entries: int = 2**20,
) -> Iterator[ItemPairs]:
    """Spell out the pairs of a chunk of cells, a bounded number at a time.

    Parameters
    ----------
    table
        The items.
    edited
        From :meth:`ItemTable.edit`.
    groups
        Group of each cell of the chunk.
    within
        Groups to whose cells each item is confined, ``(n_items, n_groups)``; ``None`` confines none.
    max_entries
        Values per batch; more where a single item has more.

    Yields
    ------
    Batches of whole items, in order.
    """
    sizes = np.diff(edited.offsets)[table.columns]
    ends = np.concatenate([[0], np.cumsum(sizes)])[table.offsets]
    allowed = np.ones((1, 1), dtype=bool) if within is None else within
    start = 0
    while start < len(table):
        stop = int(np.searchsorted(ends, ends[start] + max_entries, side="right")) - 1
        stop = min(max(stop, start + 1), len(table))
        size = int(ends[stop] - ends[start])
        items, rows = np.empty(size, np.int64), np.empty(size, np.int64)
        offsets, entries = np.empty(size + 1, np.int64), np.empty(size, np.int64)
        n_pairs, n_entries = _fill(
            start, stop, table.offsets, table.columns, edited.offsets, edited.rows, groups,
            within is not None, allowed, items, rows, offsets, entries,
        )  # fmt: skip
        if n_pairs:
            yield ItemPairs(items[:n_pairs], rows[:n_pairs], offsets[: n_pairs + 1], entries[:n_entries])
        start = stop


@njit(nogil=True, cache=True)
def _fill(  # type: ignore[no-untyped-def]
    first, last, item_offsets, item_columns, column_offsets, column_rows, groups,
    confined, allowed, items, rows, offsets, entries,
):  # fmt: skip
    n_rows = groups.size
    here = np.zeros(n_rows + 1, np.int64)
    n_pairs, n_entries = 0, 0
    offsets[0] = 0
    for item in range(first, last):
        start, stop = item_offsets[item], item_offsets[item + 1]
        if stop - start == 1:
            column = item_columns[start]
            for value in range(column_offsets[column], column_offsets[column + 1]):
                row = column_rows[value]
                if confined and not allowed[item, groups[row]]:
                    continue
                items[n_pairs], rows[n_pairs], entries[n_entries] = item, row, value
                n_entries += 1
                n_pairs += 1
                offsets[n_pairs] = n_entries
            continue
        # values per row, then where those of each row go
        here[:] = 0
        for at in range(start, stop):
            column = item_columns[at]
            for value in range(column_offsets[column], column_offsets[column + 1]):
                row = column_rows[value]
                if not confined or allowed[item, groups[row]]:
                    here[row + 1] += 1
        before = n_entries
        for row in range(n_rows):
            count = here[row + 1]
            here[row + 1] = n_entries + count
            if count:
                items[n_pairs], rows[n_pairs] = item, row
                n_entries += count
                n_pairs += 1
                offsets[n_pairs] = n_entries
        here[0] = before
        for at in range(start, stop):
            column = item_columns[at]
            for value in range(column_offsets[column], column_offsets[column + 1]):
                row = column_rows[value]
                if not confined or allowed[item, groups[row]]:
                    entries[here[row]] = value
                    here[row] += 1
    return n_pairs, n_entries
