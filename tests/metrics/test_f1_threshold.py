from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from scwhatif.metrics import f1_threshold

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 2)), min_size=2, max_size=30).filter(
    lambda rows: len({label for label, *_ in rows}) == 2
)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_no_other_threshold_is_better(rows):
    labels, scores, groups = np.array(rows).T
    for given_groups in (None, groups):
        weights = None
        if given_groups is not None:
            weights = np.array([1 / np.sum(groups == g) for g in groups])
        threshold = f1_threshold(labels, scores, given_groups)
        best = f1_score(labels, scores >= threshold, sample_weight=weights)
        for other in np.arange(-4, 4, 0.5):
            assert f1_score(labels, scores >= other, sample_weight=weights, zero_division=0) <= best + 1e-9


def test_groups_weigh_the_same():
    # a large group would set a high threshold, a small one a low one
    labels = np.array([0, 1] * 50 + [0, 1])
    scores = np.array([0.8, 0.9] * 50 + [0.1, 0.2])
    assert f1_threshold(labels, scores) == pytest.approx(0.85)
    assert f1_threshold(labels, scores, ["a"] * 100 + ["b"] * 2) == pytest.approx(0.15)


def test_neighbouring_floats_and_all_positive():
    low = 0.5
    high = np.nextafter(low, 1)
    threshold = f1_threshold([0, 1], [low, high])
    assert (np.array([low, high]) >= threshold).tolist() == [False, True]
    assert f1_threshold([1, 0], [0.1, 0.9]) == 0.1


def test_bad_input():
    with pytest.raises(ValueError, match="one group for each of 2 rows"):
        f1_threshold([0, 1], [0.1, 0.2], ["a"])
    with pytest.raises(ValueError, match="none missing"):
        f1_threshold([0, 1], [0.1, 0.2], ["a", None])
    with pytest.raises(ValueError, match="not only 0"):
        f1_threshold([0, 0], [0.1, 0.2])
