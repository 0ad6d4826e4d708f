from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics import discrimination_score, pearson_delta, weighted_mse, weighted_r2
from scwhatif.metrics._perturbation_metrics import METRICS, Truth, score_all, select_metrics


def truth() -> tuple[pd.DataFrame, Truth]:
    rng = np.random.default_rng(0)
    observed = pd.DataFrame(rng.normal(size=(4, 9)), list("ABCD"), list("ABCDefghi"))
    control, mean = (pd.Series(rng.normal(size=9), observed.columns) for _ in range(2))
    weights = pd.DataFrame(rng.random((4, 9)), observed.index, observed.columns)
    return observed + rng.normal(size=(4, 9)), Truth(observed, control, mean, weights, {p: p for p in "ABCD"})


def test_every_score_is_that_of_its_function():
    predicted, known = truth()
    y = known.observed
    expected = {
        "pearson_control": pearson_delta(predicted, y, known.control),
        "pearson_mean": pearson_delta(predicted, y, known.mean),
        "mse": ((predicted - y) ** 2).mean(axis=1),
        "mae": (predicted - y).abs().mean(axis=1),
        "weighted_mse": weighted_mse(predicted, y, known.weights),
        "weighted_r2": weighted_r2(predicted, y, known.mean, weights=known.weights),
        "discrimination": discrimination_score(predicted, y, targets=known.targets),
        "centroid_accuracy": discrimination_score(predicted, y, distance="l2"),
    }
    found = score_all([predicted, y], known, list(METRICS))
    assert found.shape == (2, 8, 4)
    assert list(METRICS) == list(expected)
    np.testing.assert_allclose(found[0], list(expected.values()))
    # the truth itself is perfect, and nothing is better
    np.testing.assert_allclose(found[1].mean(axis=1), [metric.perfect for metric in METRICS.values()])
    sign = np.array([metric.sign for metric in METRICS.values()])
    assert (sign[:, None] * found[0] <= sign[:, None] * found[1] + 1e-12).all()


def test_only_what_can_be_had():
    _, known = truth()
    assert known.known == {"train", "weights", "two perturbations"}
    assert select_metrics(None, known.known) == list(METRICS)
    bare = known._replace(mean=None, weights=None, observed=known.observed.iloc[:1])
    assert bare.known == set()
    assert select_metrics(None, bare.known) == ["pearson_control", "mse", "mae"]
    assert select_metrics(["mae", "mse"], bare.known) == ["mae", "mse"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["weighted_r2"], "weighted_r2 needs train and weights; give it, or leave weighted_r2 out"),
        (["mse", "discrimination"], "discrimination needs two perturbations"),
        (["rmse"], r"metrics=\['rmse'\] must be names from"),
        ([], "must be names from"),
    ],
)
def test_bad_names(names: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        select_metrics(names, set())
