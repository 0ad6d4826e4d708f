"""Tables of a cross-validation made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics import nadeau_bengio_interval
from scwhatif.tl._cv_splits import Split
from scwhatif.tl._cv_summary import fold_table, summarise, tabulate

SPLITS = [Split(r, f, np.arange(6), np.arange(6, 8), np.array([8, 9]) + f) for r in range(2) for f in range(3)]
SCORES = {"mean": np.zeros(6), "ours": np.array([0.4, 0.5, np.nan, 0.3, 0.6, 0.2]), "ridge": np.arange(6) / 10}


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        {"fold": s.fold, "repeat": s.repeat, "layer": layer, "inputs": inputs, "method": method}
        | dict.fromkeys(("r2", "r2_median", "r2_pooled", "coverage"), scores[k])
        | {"n_samples": 2}
        for k, s in reversed(list(enumerate(SPLITS)))
        for layer in ("rna", "protein")
        for inputs in ("imputation", "reconstruction")
        for method, scores in SCORES.items()
        if (method, inputs) != ("ridge", "reconstruction")
    ]
    return tabulate(rows, targets=["protein", "rna", "absent"], methods=["mean", "ridge", "ours"])


def test_rows_are_in_order(table: pd.DataFrame):
    assert list(table["layer"].cat.categories) == ["protein", "rna"]
    assert list(table["method"].cat.categories) == ["mean", "ridge", "ours"]
    assert list(table["inputs"].cat.categories) == ["reconstruction", "imputation"]
    first = table.iloc[:6]
    assert first["method"].eq("mean").all()
    assert first[["repeat", "fold"]].to_numpy().tolist() == [[r, f] for r in range(2) for f in range(3)]
    assert len(table) == 6 * 2 * 5


def test_summary_has_intervals_and_paired_differences(table: pd.DataFrame):
    summary = summarise(table, SPLITS, baselines=["mean", "ridge"], confidence=0.9)
    assert len(summary) == 10
    row = summary.set_index(["layer", "inputs", "method"]).loc[("rna", "imputation", "ours")]
    expected = nadeau_bengio_interval(SCORES["ours"], n_train=8, n_test=2, confidence=0.9)
    np.testing.assert_allclose(row[["r2", "low", "high"]].astype(float), expected)
    assert row["sd"] == pytest.approx(np.nanstd(SCORES["ours"], ddof=1))
    assert row["n_folds"] == 5
    above = nadeau_bengio_interval(SCORES["ours"] - SCORES["ridge"], n_train=8, n_test=2, confidence=0.9)
    found = row[["above_ridge", "above_ridge_low", "above_ridge_high"]].astype(float)
    np.testing.assert_allclose(found, above)
    assert row["above_mean"] == pytest.approx(row["r2"])


def test_what_cannot_be_compared_is_missing(table: pd.DataFrame):
    summary = summarise(table, SPLITS, baselines=["mean", "ridge"], confidence=0.9)
    rows = summary.set_index(["layer", "inputs", "method"])
    assert np.isnan(rows.loc[("rna", "reconstruction", "ours"), "above_ridge"])
    assert np.isnan(rows.loc[("rna", "imputation", "ridge"), "above_ridge"])


def test_fold_table():
    names = pd.Index([f"s{i}" for i in range(12)])
    found = fold_table(SPLITS, names)
    assert len(found) == 12
    assert found[found["fold"] == 1]["sample"].tolist() == ["s9", "s10"] * 2
    assert found["repeat"].tolist() == [0] * 6 + [1] * 6


def test_intervals_of_r2_end_at_1(table: pd.DataFrame):
    near = np.array([0.99, 0.6, np.nan, 0.95, 0.98, 0.7])
    ours = (table["method"] == "ours").to_numpy()
    table.loc[ours, "r2"] = near[(3 * table["repeat"] + table["fold"])[ours]]
    summary = summarise(table, SPLITS, baselines=["mean"], confidence=0.95).set_index(["layer", "inputs", "method"])
    free = nadeau_bengio_interval(near, n_train=8, n_test=2, confidence=0.95)
    row = summary.loc[("rna", "imputation", "ours")]
    assert free.high > 1
    np.testing.assert_allclose(row[["r2", "low", "high"]].astype(float), [free.mean, free.low, 1.0])
    # a difference of two of them has no such limit
    assert row["above_mean_high"] == pytest.approx(free.high)
    assert summary.loc[("rna", "imputation", "ridge"), "high"] < 1
