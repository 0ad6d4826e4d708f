from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from scwhatif.metrics._youden import youden_threshold


def youden(values: np.ndarray, is_in: np.ndarray, threshold: float) -> float:
    return (values[is_in] > threshold).mean() - (values[~is_in] > threshold).mean()


def test_reaches_the_best_of_the_roc_curve():
    rng = np.random.default_rng(0)
    for _ in range(20):
        is_in = rng.random(50) < 0.4
        values = np.round(rng.normal(size=50) + is_in, 1)
        false, true, _ = roc_curve(is_in, values)
        assert youden(values, is_in, youden_threshold(values, is_in)) == pytest.approx((true - false).max())


def test_lies_midway():
    assert youden_threshold(np.array([0.0, 1.0, 3.0, 4.0]), np.array([False, False, True, True])) == 2.0


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [3.0, 2.0, 1.0]])
def test_calls_all_where_nothing_helps(values: list[float]):
    is_in = np.array([False, False, True])
    assert (np.array(values) > youden_threshold(np.array(values), is_in)).all()


def test_neighbours_without_a_number_between_them():
    low = 1.0
    high = np.nextafter(low, 2)
    values = np.array([low, high])
    assert (values > youden_threshold(values, np.array([False, True]))).tolist() == [False, True]
