"""Tests of tidy tables of scores."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control

from scwhatif.tl._layer_scores import Score, score_interval
from scwhatif.tl._layer_tables import join_rows, score_rows


def test_rows_and_joint_adjustment():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(5, 3))
    score = Score(parts.mean(axis=0), parts)
    first = score_rows(score, (80, 20), [0.01, 0.2, 0.04], layer="a", feature=["x", "y", "z"])
    assert first.columns.tolist() == ["layer", "feature", "effect", "se", "low", "high", "pval"]
    np.testing.assert_array_equal(first[["se", "low", "high"]].to_numpy().T, score_interval(score, (80, 20)))
    second = score_rows(score, (80, 20), layer="b", feature=["x", "y", "z"])
    assert second["pval"].isna().all()
    table = join_rows([second, first], layer=["a", "b"])
    assert table["layer"].cat.categories.tolist() == ["a", "b"]
    assert table["layer"].tolist() == ["b"] * 3 + ["a"] * 3
    np.testing.assert_allclose(table["padj"][3:], false_discovery_control([0.01, 0.2, 0.04]))
    assert table["padj"][:3].isna().all()
    assert table.index.tolist() == [str(i) for i in range(6)]


def test_without_any_p_value():
    score = Score(np.zeros(1), np.zeros((4, 1)))
    assert join_rows([score_rows(score, (3, 1), layer="a")], layer=["a"])["padj"].isna().all()
