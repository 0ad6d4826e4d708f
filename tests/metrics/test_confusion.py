from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from scwhatif.metrics._confusion import confusion_table


def test_counts_and_intervals():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], [40, 25, 60])
    predicted = np.where(rng.random(125) < 0.6, codes, rng.integers(3, size=125))
    table = confusion_table(codes, predicted, ["a", "b", "c"])
    assert list(table.columns) == ["true", "predicted", "n", "share", "low", "high"]
    counts = confusion_matrix(codes, predicted)
    np.testing.assert_array_equal(table["n"].to_numpy().reshape(3, 3), counts)
    assert table["true"].tolist() == [*"aaabbbccc"]
    assert table["predicted"].tolist() == [*"abcabcabc"]
    for row, n in zip(table.itertuples(), np.repeat([40, 25, 60], 3), strict=True):
        expected = binomtest(row.n, int(n)).proportion_ci(method="wilson")
        assert (row.share, row.low, row.high) == pytest.approx((row.n / n, expected.low, expected.high))


def test_rows_add_up():
    codes = np.array([0, 0, 0, 1, 1])
    table = confusion_table(codes, np.zeros(5, dtype=np.int64), ["a", "b"])
    assert table.groupby("true", observed=True)["n"].sum().tolist() == [3, 2]
    assert table.groupby("true", observed=True)["share"].sum().tolist() == [1, 1]


def test_intervals_know_of_donors():
    """Whole donors are right or wrong, so ten cells of each say no more than one."""
    codes = np.tile([0, 1], 60)
    groups = np.repeat(np.arange(6), 20)
    predicted = np.where(groups < 4, codes, 1 - codes)
    wide, narrow = confusion_table(codes, predicted, ["a", "b"], groups), confusion_table(codes, predicted, ["a", "b"])
    np.testing.assert_array_equal(wide["share"], narrow["share"])
    assert (wide["low"] < narrow["low"] - 0.1).all()
    assert (wide["high"] > narrow["high"] + 0.05).all()
