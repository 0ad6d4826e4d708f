from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, mannwhitneyu
from sklearn.metrics import roc_auc_score

import scwhatif as wi


def test_equals_sklearn_and_scipy_pair_by_pair():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 60)
    # the second column is full of ties
    values = np.c_[rng.normal(size=60) + (labels == "b"), rng.integers(0, 3, 60)]
    table = wi.metrics.pairwise_auc(values, labels)
    assert len(table) == 3 * 2
    for row in table.itertuples():
        inside = np.isin(labels, [row.label, row.other])
        is_label, column = labels[inside] == row.label, values[inside, row.dimension]
        auc = roc_auc_score(is_label, row.direction * column)
        assert row.auc == pytest.approx(auc, abs=1e-12)
        assert row.auc >= 0.5
        expected = mannwhitneyu(column[is_label], column[~is_label], method="asymptotic").pvalue
        assert row.pval == pytest.approx(min(2 * expected, 1), rel=1e-9)


def test_a_dimension_may_tell_a_pair_and_neither_from_all_others():
    z = np.repeat([0.0, 1.0, -1.0, 2.0], 20)[:, None] + np.linspace(0, 0.1, 80)[:, None]
    labels = np.repeat(["a", "b", "c", "d"], 20)
    pairs = wi.metrics.pairwise_auc(z, labels).set_index(["label", "other"])
    assert pairs.loc[("a", "b"), "auc"] == 1
    assert wi.metrics.one_vs_rest_auc(z, labels).loc[0, "a"] == pytest.approx(1 / 3)


def test_pvalues_are_uniform_without_structure():
    rng = np.random.default_rng(1)
    labels = np.repeat(["a", "b"], [40, 60])
    found = [wi.metrics.pairwise_auc(rng.normal(size=(100, 1)), labels)["pval"].item() for _ in range(400)]
    assert kstest(found, "uniform").pvalue > 0.01


def test_constant_column_and_names():
    table = wi.metrics.pairwise_auc(pd.DataFrame({"flat": [1.0, 1.0, 1.0, 1.0]}), ["a", "a", "b", "b"])
    assert table.loc[0, ["dimension", "auc", "pval"]].tolist() == ["flat", 0.5, 1.0]
