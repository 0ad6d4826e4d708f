"""Counts of features and items per group against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scwhatif.engine import FeatureCounts
from scwhatif.engine._feature_counts import count_features, count_pairs

VALUES = np.array([[0, 2, -1], [3, 0, 0], [0.5, 1, 0], [0, 0, 4]], np.float32)
GROUPS = np.array([1, 0, 1, 1])


@pytest.fixture
def counts() -> FeatureCounts:
    return FeatureCounts.zeros(3, 2, 2)


def test_values_are_counted_per_group(counts: FeatureCounts):
    count_features(sparse.csr_matrix(VALUES), GROUPS, counts)
    own = [VALUES[group == GROUPS] for group in range(2)]
    np.testing.assert_array_equal(counts.n_cells, [1, 3])
    np.testing.assert_array_equal(counts.n_nonzero.T, [(x != 0).sum(axis=0) for x in own])
    np.testing.assert_array_equal(counts.total.T, [x.sum(axis=0) for x in own])
    np.testing.assert_array_equal(counts.total_abs.T, [abs(x).sum(axis=0) for x in own])
    assert not counts.n_changed.any()


def test_pairs_are_counted_per_group(counts: FeatureCounts):
    count_pairs(np.array([0, 0, 1, 0]), np.array([0, 1, 1, 3]), GROUPS, counts)
    np.testing.assert_array_equal(counts.n_changed, [[1, 2], [1, 0]])
    assert not counts.n_cells.any()


def test_chunks_add_up(counts: FeatureCounts):
    whole = FeatureCounts.zeros(3, 2, 2)
    count_features(sparse.csr_matrix(VALUES), GROUPS, whole)
    for rows in (slice(0, 1), slice(1, 4)):
        part = FeatureCounts.zeros(3, 2, 2)
        count_features(sparse.csr_matrix(VALUES[rows]), GROUPS[rows], part)
        counts.add(part)
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(counts, name), values)
