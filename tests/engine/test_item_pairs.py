"""Tests of spelling out pairs, against a loop over items and cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scwhatif.engine._item_pairs import item_pairs
from scwhatif.engine._item_table import ItemTable
from scwhatif.perturbation import Perturbation

N_FEATURES = 6
ITEMS = ["g0:ko", "{g1,g4,g5}:ko", "g2:+1", "g3:x2 + g2:+1", "g5:x1", "g4:ko"]


def spelled_out(table, edited, groups, within, max_entries) -> list[tuple[int, int, list[int]]]:
    found = []
    for pairs in item_pairs(table, edited, groups, within, max_entries=max_entries):
        assert pairs.offsets[0] == 0
        assert pairs.offsets[-1] == len(pairs.entries)
        for i, (number, row) in enumerate(zip(pairs.items, pairs.rows, strict=True)):
            found.append((int(number), int(row), pairs.entries[pairs.offsets[i] : pairs.offsets[i + 1]].tolist()))
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans())
def test_equals_a_loop(seed: int, max_entries: int, confine: bool):
    rng = np.random.default_rng(seed)
    n_cells = int(rng.integers(0, 12))
    x = sparse.csr_matrix(rng.poisson(0.6, (n_cells, N_FEATURES)).astype(np.float32))
    names = [f"g{i}" for i in range(N_FEATURES)]
    table = ItemTable.from_items([tuple(Perturbation.parse(text).feature_edits(names)) for text in ITEMS])
    edited = table.edit(x, 0, signed=False, seed=0)
    groups = rng.integers(2, size=n_cells)
    within = rng.random((len(ITEMS), 2)) < 0.5 if confine else None
    wanted = []
    for number in range(len(ITEMS)):
        columns = table.columns[table.offsets[number] : table.offsets[number + 1]]
        values = np.concatenate([np.arange(edited.offsets[c], edited.offsets[c + 1]) for c in columns])
        for row in range(n_cells):
            own = [int(value) for value in values if edited.rows[value] == row]
            if own and (within is None or within[number, groups[row]]):
                wanted.append((number, row, own))
    assert spelled_out(table, edited, groups, within, max_entries) == wanted


@pytest.mark.parametrize("max_entries", [1, 7, 1000])
def test_batches_are_bounded_and_hold_whole_items(max_entries: int):
    x = sparse.csr_matrix(np.ones((5, N_FEATURES), np.float32))
    items = [((feature, Perturbation.parse("a:ko").edits[0]),) for feature in range(N_FEATURES)]
    table = ItemTable.from_items(items)
    edited = table.edit(x, 0, signed=False, seed=0)
    batches = list(item_pairs(table, edited, np.zeros(5, np.int64), max_entries=max_entries))
    assert all(len(batch.entries) <= max(max_entries, 5) for batch in batches)
    np.testing.assert_array_equal(np.concatenate([batch.items for batch in batches]), np.repeat(range(N_FEATURES), 5))
    assert sum(len(set(batch.items)) for batch in batches) == N_FEATURES
