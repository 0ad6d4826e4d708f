"""Tests of resolving perturbations and editing chunks, against editing cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse

from scwhatif.engine._item_table import ItemTable
from scwhatif.perturbation import Perturbation

if TYPE_CHECKING:
    from scwhatif.engine import Item

NAMES = [f"g{i}" for i in range(12)]


def item(text: str) -> Item:
    return tuple(Perturbation.parse(text).feature_edits(NAMES))


def chunk(n_cells: int = 20) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.random.default_rng(0).poisson(0.8, (n_cells, len(NAMES))).astype(np.float32))


def test_what_items_share_is_listed_once():
    table = ItemTable.from_items([item("g3:ko"), item("{g3,g1}:ko"), item("g3:x0.5"), item("g1:ko + g3:x0.5")])
    assert len(table) == 4
    columns = [table.columns[a:b] for a, b in zip(table.offsets, table.offsets[1:], strict=False)]
    named = [[(int(table.features[c]), int(table.chain_of[c])) for c in own] for own in columns]
    assert named == [[(3, 0)], [(1, 0), (3, 0)], [(3, 1)], [(1, 0), (3, 1)]]
    assert len(table.features) == 3
    assert [[edit.op for edit in edits] for edits in table.chains] == [["ko"], ["x"]]


def test_single_edits_are_resolved_like_any_others():
    single = [item(text) for text in ("g3:ko", "g1:ko", "g3:x2", "g3:ko", "g0:x2")]
    alone, beside = ItemTable.from_items(single), ItemTable.from_items([*single, item("{g5,g6}:+1")])
    for i in range(len(single)):
        found, wanted = (table.columns[table.offsets[i]] for table in (alone, beside))
        assert alone.features[found] == beside.features[wanted] == single[i][0][0]
        assert alone.chains[alone.chain_of[found]] == beside.chains[beside.chain_of[wanted]]
    assert len(alone.features) == 4
    assert len(alone) == 5


def test_edits_of_one_feature_follow_one_another():
    table = ItemTable.from_items([item("g0:+3") + item("g0:x2"), item("g0:x2") + item("g0:+3")])
    edited = table.edit(chunk(), 0, signed=False, seed=0)
    x = chunk().toarray()[:, 0]
    first, second = (edited.after[edited.offsets[i] : edited.offsets[i + 1]] for i in range(2))
    np.testing.assert_array_equal(first, (x + 3) * 2)
    np.testing.assert_array_equal(second, x * 2 + 3)


@pytest.mark.parametrize("op", ["ko", "x0.5", "x3", "=1", "+2", "-1", "x1"])
def test_every_value_that_changes_is_listed(op: str):
    items = [item(f"g{i}:{op}") for i in (7, 0, 3)]
    table = ItemTable.from_items(items)
    edited = table.edit(chunk(), 0, signed=False, seed=0)
    x = chunk().toarray()
    for i, feature in enumerate((7, 0, 3)):
        after = Perturbation.parse(f"a:{op}").edits[0].apply(x[:, feature])
        column = table.columns[table.offsets[i]]
        own = slice(edited.offsets[column], edited.offsets[column + 1])
        rows = np.flatnonzero(after != x[:, feature])
        np.testing.assert_array_equal(edited.rows[own], rows)
        np.testing.assert_array_equal(edited.before[own], x[rows, feature])
        np.testing.assert_array_equal(edited.after[own], after[rows])
        assert (edited.features[own] == feature).all()


def test_signed_values_do_not_stop_at_zero():
    x = sparse.csr_matrix(np.array([[0.5], [0.0], [-2.0]], np.float32))
    table = ItemTable.from_items([((0, Perturbation.parse("a:-1").edits[0]),)])
    edited = table.edit(x, 0, signed=True, seed=0)
    np.testing.assert_array_equal(edited.after, [-0.5, -1, -3])
    assert table.n_dense(signed=True) == 1
    assert table.n_dense(signed=False) == 0


@pytest.mark.parametrize("text", ["g4:thin0.5", "g4:+2 + g4:thin0.5"])
def test_draws_depend_on_seed_and_row_alone(text: str):
    table = ItemTable.from_items([item(text)])
    x = chunk() * 4
    whole = table.edit(x, 0, signed=False, seed=5)
    # the same cells in two chunks, beside other items
    other = ItemTable.from_items([item("g2:thin0.1"), item(text), item("g4:ko")])
    parts = [other.edit(x[:7], 0, signed=False, seed=5), other.edit(x[7:], 7, signed=False, seed=5)]
    own = [slice(part.offsets[1], part.offsets[2]) for part in parts]
    rows = np.concatenate([part.rows[at] + first for part, at, first in zip(parts, own, (0, 7), strict=True)])
    np.testing.assert_array_equal(rows, whole.rows)
    np.testing.assert_array_equal(np.concatenate([p.after[at] for p, at in zip(parts, own, strict=True)]), whole.after)
    assert not np.array_equal(table.edit(x, 0, signed=False, seed=6).after, whole.after)
    assert not np.array_equal(table.edit(x, 1, signed=False, seed=5).after, whole.after)


def test_thinning_keeps_the_expected_share():
    x = sparse.csr_matrix(np.full((400, 2), 10, np.float32))
    table = ItemTable.from_items([((1, Perturbation.parse("a:thin0.3").edits[0]),)])
    after = np.full(400, 10.0)
    edited = table.edit(x, 0, signed=False, seed=0)
    after[edited.rows] = edited.after
    assert (after == np.floor(after)).all()
    # four standard errors
    assert abs(after.mean() - 3) < 4 * np.sqrt(10 * 0.3 * 0.7 / 400)


def test_no_cells_and_no_edits():
    table = ItemTable.from_items([item("g1:ko"), ()])
    edited = table.edit(chunk()[:0], 0, signed=False, seed=0)
    assert not len(edited.rows)
    assert list(table.offsets) == [0, 1, 1]
    assert not len(ItemTable.from_items([]).edit(chunk(), 0, signed=False, seed=0).rows)
