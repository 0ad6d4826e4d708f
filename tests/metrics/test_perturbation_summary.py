from __future__ import annotations

import numpy as np

from scwhatif.metrics._perturbation_summary import summarise_scores

KINDS = {"mine": "model", "train mean": "floor", "additive": "floor", "technical duplicate": "ceiling"}
METRICS = ["pearson_mean", "mse"]


def scores() -> np.ndarray:
    rng = np.random.default_rng(0)
    # of each predictor: correlation, error
    level = np.array([[0.7, 0.3], [0.1, 1.0], [0.5, 0.2], [0.9, 0.1]])
    return level[:, :, None] + 0.02 * rng.normal(size=(1, 1, 12))


def summary(values: np.ndarray, **kwargs: object):
    settings = {"zero": "train mean", "one": "technical duplicate", "n_boot": 500, "confidence": 0.95} | kwargs
    return summarise_scores(values, KINDS, METRICS, rng=np.random.default_rng(0), **settings)


def test_values():
    values = scores()
    table = summary(values)
    assert list(table["predictor"].unique()) == list(KINDS)
    assert dict(zip(table["predictor"], table["kind"], strict=True)) == KINDS
    table = table.set_index(["metric", "predictor"])
    np.testing.assert_allclose(table["value"].to_numpy(), values.mean(axis=2).ravel())
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    # the better floor, whichever way the metric runs
    np.testing.assert_allclose(table.loc["pearson_mean", "gain"], [0.2, -0.4, 0, 0.4])
    np.testing.assert_allclose(table.loc["mse", "gain"], [-0.1, -0.8, 0, 0.1])
    # what all predictors share cancels in paired differences
    np.testing.assert_allclose(table["gain_low"], table["gain"], atol=1e-12)
    np.testing.assert_allclose(table["gain_high"], table["gain"], atol=1e-12)
    np.testing.assert_allclose(table.loc["pearson_mean", "calibrated"], [0.75, 0, 0.5, 1])
    np.testing.assert_allclose(table.loc["mse", "calibrated"], [0.7 / 0.9, 0, 0.8 / 0.9, 1])
    start = 0.1 + table.loc[("pearson_mean", "train mean"), "value"] - 0.1
    np.testing.assert_allclose(table.loc["pearson_mean", "dynamic_range"], 0.8 / (1 - start))
    assert (table["n_perturbations"] == 12).all()


def test_not_clipped():
    values = scores()
    values[0, 0] += 0.5
    values[0, 1] += 2
    calibrated = summary(values).iloc[:2]["calibrated"]
    np.testing.assert_allclose(calibrated, [1.1 / 0.8, -1.3 / 0.9])


def test_a_metric_that_cannot_tell_the_duplicate_calibrates_nothing():
    values = scores()
    values[3, 0] = values[1, 0] + 0.3 * np.random.default_rng(1).normal(size=12)
    table = summary(values).set_index("metric")
    assert table.loc["pearson_mean", "calibrated"].isna().all()
    assert table.loc["mse", "calibrated"].notna().all()
    assert table["dynamic_range"].notna().all()


def test_without_floors_or_ceilings():
    table = summary(scores(), zero=None)
    assert table[["calibrated", "dynamic_range"]].isna().all(axis=None)
    assert table["gain"].notna().all()
    models = dict.fromkeys(KINDS, "model")
    table = summarise_scores(
        scores(), models, METRICS, zero=None, one=None, n_boot=9, confidence=0.9, rng=np.random.default_rng(0)
    )
    assert table[["gain", "gain_low", "gain_high"]].isna().all(axis=None)
    assert table["value"].notna().all()


def test_a_perfect_floor_leaves_no_range():
    values = scores()
    values[1, 1] = 0
    assert summary(values).set_index("metric").loc["mse", "dynamic_range"].isna().all()


def test_seed():
    values = scores()
    assert summary(values).equals(summary(values))
    assert not summary(values, n_boot=400)["low"].equals(summary(values)["low"])
