from __future__ import annotations

import numpy as np
from scipy.stats import kstest, rankdata

from scwhatif.metrics._auc import auc_of_ranks, folded
from scwhatif.metrics._max_statistic import adjust_families, best_by_chance, shuffled


def test_adjustment_by_hand():
    # families' best p-values .01, .02, .5: Benjamini–Hochberg gives .03, .03, .5
    pval = np.array([[0.01, 0.02, 0.5], [0.015, 0.3, 0.9]])
    np.testing.assert_allclose(adjust_families(pval), [[0.03, 0.03, 0.5], [0.03, 0.45, 0.9]])


def test_labels_of_whole_groups_move_with_them():
    groups = np.repeat(np.arange(4), [2, 5, 1, 3])
    codes = np.array([0, 0, 1, 1])[groups]
    seen = set()
    for seed in range(40):
        new = shuffled(codes, groups, np.random.default_rng(seed))
        assert all(len(set(new[groups == group])) == 1 for group in range(4))
        seen.add(tuple(new[[0, 2, 7, 8]]))
    assert len(seen) == 6


def test_labels_that_vary_within_groups_stay_within():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 5, 100)
    codes = rng.integers(0, 3, 100)
    new = shuffled(codes, groups, rng)
    assert (new != codes).any()
    for group in range(5):
        inside = groups == group
        np.testing.assert_array_equal(np.bincount(new[inside], minlength=3), np.bincount(codes[inside], minlength=3))


def test_donors_are_not_taken_for_labels():
    """Cells of a donor share an effect; labels belong to donors and mean nothing."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 10)
    by_donor, by_cell = [], []
    for seed in range(100):
        values = rng.normal(size=(12, 2))[groups] + rng.normal(size=(120, 2))
        codes = rng.permutation(np.repeat([0, 1], 6))[groups]
        ranks = rankdata(values, axis=0)
        observed = folded(auc_of_ranks(ranks, codes, 2)).max(axis=0)[0]
        for found, blocks in ((by_donor, groups), (by_cell, None)):
            null = best_by_chance(ranks, codes, 2, 99, groups=blocks, seed=seed)[:, 0]
            found.append((1 + (null >= observed - 1e-12).sum()) / 100)
    smooth = np.array(by_donor) - rng.uniform(0, 1 / 100, 100)
    assert kstest(smooth, "uniform").pvalue > 0.01
    assert np.mean(np.array(by_cell) <= 0.05) > 0.4
