from __future__ import annotations

from itertools import permutations
from math import comb

import numpy as np
import pytest

from scwhatif.metrics._block_shuffle import label_sets, shuffled_blocks, smallest_pval


def shuffles(codes: np.ndarray, groups: np.ndarray | None, n: int) -> np.ndarray:
    return np.array([shuffled_blocks(codes, groups, np.random.default_rng(i)) for i in range(n)])


def test_cells_without_groups():
    codes = np.repeat([0, 1, 2], [4, 3, 2])
    found = shuffles(codes, None, 300)
    assert (np.sort(found, axis=1) == codes).all()
    np.testing.assert_allclose((found == 0).mean(axis=0), 4 / 9, atol=0.1)


def test_copies_of_a_base_cell_exchange_their_labels():
    codes, groups = np.repeat([0, 1, 2], 4), np.tile(np.arange(4), 3)
    found = shuffles(codes, groups, 600)
    for group in range(4):
        copies = found[:, groups == group]
        assert (np.sort(copies, axis=1) == [0, 1, 2]).all()
        orders, counts = np.unique(copies, axis=0, return_counts=True)
        assert {tuple(order) for order in orders.tolist()} == set(permutations(range(3)))
        assert (np.abs(counts - 100) < 40).all()
    # one base cell says nothing of another
    assert abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) < 0.15


def test_cells_of_a_donor_and_condition_stay_together():
    codes = np.array([0, 0, 0, 1, 1, 0, 1, 1, 1, 1])
    groups = np.repeat([0, 1], 5)
    found = shuffles(codes, groups, 200)
    swapped = found != codes
    for group in range(2):
        here = swapped[:, groups == group]
        assert (here.all(axis=1) | ~here.any(axis=1)).all()
        assert 0.35 < here[:, 0].mean() < 0.65


def test_groups_of_one_label_are_shuffled_whole():
    codes, groups = np.array([0, 0, 0, 1, 1, 1, 1, 0]), np.array([0, 0, 1, 2, 2, 2, 3, 1])
    found = shuffles(codes, groups, 300)
    of_group = found[:, [0, 2, 3, 6]]
    np.testing.assert_array_equal(found, of_group[:, groups])
    assert (of_group.sum(axis=1) == 2).all()
    assert len(np.unique(of_group, axis=0)) == comb(4, 2)


def test_a_group_of_one_label_among_others_of_several_keeps_it():
    codes, groups = np.array([0, 1, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])
    found = shuffles(codes, groups, 50)
    assert (found[:, 4:] == 1).all()
    assert (found[:, :4] != codes[:4]).any()


def test_label_sets():
    found = label_sets(np.array([0, 2, 2, 1]), np.array([0, 0, 1, 1]))
    assert found.tolist() == [[True, False, True], [False, True, True]]


@pytest.mark.parametrize(
    ("codes", "groups", "expected"),
    [
        # three donors with both labels: eight arrangements, in pairs that differ by the labels' names
        ([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2], 2 / 8),
        # two donors of each label: six arrangements, in pairs
        ([0, 0, 1, 1], [0, 1, 2, 3], 2 / 6),
        # one and three: no renaming gives the same sizes
        ([0, 1, 1, 1], [0, 1, 2, 3], 1 / 4),
        # one donor has both labels, another one of them
        ([0, 1, 0], [0, 0, 1], 1 / 2),
        ([0, 0, 1, 1], None, 2 / 6),
    ],
)
def test_smallest_pval(codes: list[int], groups: list[int] | None, expected: float):
    given = None if groups is None else np.array(groups)
    assert smallest_pval(np.array(codes), given, 999) == pytest.approx(expected)
    assert smallest_pval(np.array(codes), given, 1) == pytest.approx(max(expected, 1 / 2))


def test_smallest_pval_of_many_groups_is_that_of_the_shuffles():
    codes, groups = np.tile([0, 1, 2], 2000), np.repeat(np.arange(2000), 3)
    assert smallest_pval(codes, groups, 199) == 1 / 200
