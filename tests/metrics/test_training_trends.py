"""Trends of runs whose course is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

EPOCH = np.arange(15)


def run(**columns):
    return pd.DataFrame({"epoch": EPOCH, **columns})


def test_states():
    rng = np.random.default_rng(0)
    found = wi.metrics.training_trends(
        run(
            up=EPOCH + 0.1 * rng.normal(size=15),
            down=-EPOCH,
            noise=rng.normal(size=15),
            still=np.ones(15),
            settled=np.r_[100.0, np.linspace(1, 1.01, 14)],
        )
    ).table.set_index("metric")
    assert found["state"].to_dict() == {"up": "up", "down": "down", "noise": "flat", "still": "flat", "settled": "flat"}
    assert found.loc["down", "slope"] == -1
    assert found.loc["up", "best_epoch"] == 14


def test_an_outlier_does_not_make_a_slope():
    values = np.zeros(15) + 1e-3 * np.arange(15)
    values[-2] = 50.0
    found = wi.metrics.training_trends(run(x=values)).table
    assert abs(found["slope"].iloc[0]) < 0.01


def test_the_published_trace_of_far_negatives():
    """Loss, ratio and retrieval of a run that took the farthest negative for the hardest."""
    epochs = [0, 1, 10, 40]
    every = np.arange(11)
    interpolate = {
        "loss": (epochs, [np.nan, 0.101, 0.017, 0.007]),
        "ratio": (epochs, [4.1, 5.9, 11.9, 12.8]),
        "map": (epochs, [0.688, 0.717, 0.670, 0.592]),
    }
    columns = {name: np.interp(every, *points) for name, points in interpolate.items()}
    columns["loss"][0] = np.nan
    history = pd.DataFrame({"epoch": every, **columns, "active_pairs": np.full(11, 0.031)})
    messages = wi.metrics.training_trends(history).messages
    assert "ratio up, map down: the pairs the loss sees are not the neighbours" in messages
    assert "loss down, map down: the objective is not aligned with retrieval" in messages


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"map": 0.9 - 0.01 * EPOCH}, "keep the input"),
        ({"active_pairs": np.r_[np.full(14, 0.3), 0.01]}, "no hard pairs"),
        ({"active_pairs": np.full(15, 0.99)}, "margin is too large"),
        ({"mean_cosine": np.r_[0.1, np.full(14, 0.5)]}, "collapsing"),
        ({"map": 0.1 + 0.01 * EPOCH, "loss": 1.0 / (1 + EPOCH)}, None),
    ],
)
def test_rules(columns, said):
    messages = wi.metrics.training_trends(run(**columns)).messages
    assert len(messages) == (said is not None)
    assert said is None or said in messages[0]


def test_bad_input():
    with pytest.raises(ValueError, match="needs a column 'epoch'"):
        wi.metrics.training_trends(pd.DataFrame({"map": [1.0]}))
    with pytest.raises(ValueError, match="window=3"):
        wi.metrics.training_trends(run(), window=3)
