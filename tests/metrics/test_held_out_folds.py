from __future__ import annotations

import numpy as np
import pytest

from scwhatif.metrics._held_out_folds import held_out_folds


def test_cells_are_spread_evenly():
    codes = np.repeat([0, 1, 2], [50, 30, 7])
    folds = held_out_folds(codes, 5)
    counts = np.stack([np.bincount(folds[codes == k], minlength=5) for k in range(3)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert np.ptp(np.bincount(folds)) <= 1
    np.testing.assert_array_equal(folds, held_out_folds(codes, 5))
    assert (folds != held_out_folds(codes, 5, seed=1)).any()


@pytest.mark.parametrize(("sizes", "n_parts"), [([40, 30, 2], 5), ([40, 2], 2)])
def test_two_cells_of_a_label_are_held_out_one_at_a_time(sizes: list[int], n_parts: int):
    """A part without them compares other labels, if there are two."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    folds = held_out_folds(codes, 5)
    assert folds.max() == n_parts - 1
    assert len(set(folds[codes == len(sizes) - 1])) == 2


@pytest.mark.parametrize("sizes", [[10] * 6, [25, 5, 14, 16, 3, 9]])
def test_donors_of_one_label_each_are_paired(sizes: list[int]):
    groups = np.repeat(np.arange(6), sizes)
    codes = (groups >= 3).astype(np.int64)
    folds = held_out_folds(codes, 5, groups=groups)
    assert all(len(set(folds[groups == group])) == 1 for group in range(6))
    # three donors of each label make at most three parts with both
    assert all(set(codes[folds == fold]) == {0, 1} for fold in range(folds.max() + 1))
    assert folds.max() >= 1


def test_rare_label_does_not_reduce_the_parts():
    groups = np.repeat(np.arange(8), 10)
    codes = np.tile(np.repeat([0, 1], 5), 8)
    codes[[0, 15]] = 2
    folds = held_out_folds(codes, 5, groups=groups)
    assert folds.max() == 4
    assert len(set(folds[codes == 2])) == 2


def test_none_where_labels_cannot_be_compared():
    assert held_out_folds(np.repeat([0, 1], 10), 5, groups=np.repeat([0, 1], 10)) is None
