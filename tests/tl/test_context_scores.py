from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from scwhatif.metrics import calibration_bins, nadeau_bengio_interval
from scwhatif.tl._context_scores import SCORES, differences, reliability, score_pairs, summarise
from scwhatif.tl._context_splits import ContextSplit


def test_scores():
    rng = np.random.default_rng(0)
    p = rng.beta(1, 5, 800)
    labels = (rng.uniform(size=800) < p).astype(int)
    found = score_pairs(labels, p, 0.3)
    assert list(found) == list(SCORES)
    assert found["aupr"] == pytest.approx(average_precision_score(labels, p))
    assert found["lift"] == pytest.approx(found["aupr"] / labels.mean())
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, p))
    assert found["f1"] == pytest.approx(f1_score(labels, p >= 0.3))
    assert found["precision"] == pytest.approx(labels[p >= 0.3].mean())
    assert found["recall"] == pytest.approx((p >= 0.3)[labels == 1].mean())
    assert found["brier"] == pytest.approx(np.square(p - labels).mean())
    assert found["calibration_slope"] == pytest.approx(1, abs=0.25)
    assert found["aupr_at_half"] > found["aupr"]
    # nobody is called: no warning, and nought
    assert score_pairs(labels, p, 2.0)["f1"] == 0


def make_table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        {"cell_line": line, "fold": fold, "method": method, "n_train": 100, "n": 20}
        | {score: rng.uniform(0.4, 0.6) for score in SCORES}
        for line in ("a", "b")
        for fold in range(3)
        for method in ("x", "y")
    ]
    table = pd.DataFrame(rows)
    table["method"] = table["method"].astype("category")
    return table


def test_summary():
    table = make_table()
    table.loc[0, "calibration_slope"] = np.inf
    summary = summarise(table, confidence=0.9).set_index(["method", "score"])
    values = table.loc[table["method"] == "y", "aupr"].to_numpy()
    row = summary.loc[("y", "aupr")]
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std(ddof=1))
    half = stats.t.ppf(0.95, 5) * np.sqrt(1 / 6 + 0.2) * values.std(ddof=1)
    np.testing.assert_allclose([row["low"], row["high"]], [values.mean() - half, values.mean() + half])
    assert summary.loc[("x", "calibration_slope"), "n"] == 5
    assert np.isfinite(summary.loc[("x", "calibration_slope"), "mean"])


def test_intervals_end_where_the_score_does():
    table = make_table()
    wide = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    for score in SCORES:
        table.loc[table["method"] == "x", score] = wide
        table.loc[table["method"] == "y", score] = 1 - wide
    raw = nadeau_bengio_interval(wide, n_train=100, n_test=20)
    assert raw.low < 0
    assert raw.high > 1
    summary = summarise(table, confidence=0.95).set_index(["method", "score"]).loc["x"]
    for score in ("aupr", "aupr_at_half", "auroc", "f1", "precision", "recall", "ece", "brier"):
        assert tuple(summary.loc[score, ["low", "high"]]) == (0, 1)
    np.testing.assert_allclose(summary.loc["lift", ["low", "high"]].tolist(), [0, raw.high])
    for score in ("calibration_slope", "calibration_intercept"):
        np.testing.assert_allclose(summary.loc[score, ["low", "high"]].tolist(), [raw.low, raw.high])
    found = differences(table, confidence=0.95).set_index(["method", "reference", "score"]).loc["x", "y"]
    assert tuple(found.loc["aupr", ["low", "high"]]) == (-1, 1)
    assert found.loc["lift", "low"] < -1
    # one fold: no interval, and none made up
    alone = summarise(table.iloc[:2], confidence=0.95)
    assert alone["low"].isna().all()


def test_differences_are_paired_and_antisymmetric():
    table = make_table().sample(frac=1, random_state=0)
    found = differences(table, confidence=0.95).set_index(["method", "reference", "score"])
    wide = table.pivot(index=["cell_line", "fold"], columns="method", values="ece")
    values = (wide["x"] - wide["y"]).to_numpy()
    row, back = found.loc[("x", "y", "ece")], found.loc[("y", "x", "ece")]
    expected = nadeau_bengio_interval(values, n_train=100, n_test=20)
    np.testing.assert_allclose([row["mean"], row["low"], row["high"]], np.array(expected))
    assert back["mean"] == pytest.approx(-row["mean"])
    # less of an error is better
    assert row["share_better"] == pytest.approx((values < 0).mean())
    assert row["share_better"] + back["share_better"] == pytest.approx(1)
    assert "calibration_slope" not in found.index.get_level_values("score")
    alone = table[table["method"] == "x"].copy()
    alone["method"] = alone["method"].cat.remove_unused_categories()
    assert differences(alone, confidence=0.95).empty


def test_reliability_pools_the_folds_of_a_line():
    rng = np.random.default_rng(2)
    labels, every = rng.integers(2, size=60).astype(float), np.arange(60)
    predicted = pd.DataFrame({"x": rng.uniform(size=60), "y": rng.uniform(size=60)})
    none = every[:0]
    splits = [ContextSplit("b", 0, none, none, every[:20]), ContextSplit("b", 1, none, none, every[20:50])]
    found = reliability(labels, predicted, splits, n_bins=5)
    assert list(found["cell_line"].cat.categories) == ["b"]
    expected = calibration_bins(labels[:50], predicted["y"][:50], n_bins=5)
    got = found[found["method"] == "y"].reset_index(drop=True)
    pd.testing.assert_frame_equal(got[["predicted", "observed", "n"]], expected)
