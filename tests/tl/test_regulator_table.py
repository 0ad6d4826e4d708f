"""Tests of what tables of ranked genes share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, spearmanr

from scwhatif.metrics import signed_null_pvalues
from scwhatif.tl._cell_bins import BinMeans
from scwhatif.tl._regulator_table import agreement, effect_statistics, ends, stack, warn_unmatched

RNG = np.random.default_rng(0)


def test_statistics_are_those_of_all_tested_genes_adjusted_over_those_asked_for():
    effect, covariates = RNG.normal(size=200), RNG.normal(size=(200, 2))
    tested = np.arange(200) % 5 > 0
    asked = np.array([0, 1, 2, 50, 51])
    found = effect_statistics(effect, covariates, tested, asked, 40)
    null = signed_null_pvalues(np.where(tested, effect, np.nan), covariates, n_null=40, eligible=tested)
    np.testing.assert_array_equal(found["pval"], null.pval[asked])
    assert np.isnan(found["pval"][[0, 3]]).all()
    np.testing.assert_allclose(found["padj"][[1, 2, 4]], false_discovery_control(null.pval[asked[[1, 2, 4]]]))
    for values in effect_statistics(effect, covariates, tested, asked, 0).values():
        assert np.isnan(values).all()


def test_agreement_is_the_rank_correlation_of_what_both_tested():
    effects = {"a": RNG.normal(size=30), "b": RNG.normal(size=30), "c": RNG.normal(size=30)}
    effects["b"][:5] = np.nan
    found = agreement(effects)
    assert found[["method_a", "method_b"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert found["spearman"].iloc[0] == pytest.approx(spearmanr(effects["a"][5:], effects["b"][5:]).statistic)
    assert len(agreement({"a": effects["a"]})) == 0


def test_stack_and_ends():
    blocks = [pd.DataFrame({"group": "b", "x": [1, 2]}), pd.DataFrame({"group": "a", "x": [3]})]
    table = stack(blocks, group=["b", "a"])
    assert table.index.tolist() == ["0", "1", "2"]
    assert table["group"].cat.categories.tolist() == ["b", "a"]
    mean = np.arange(6.0).reshape(3, 2)
    assert ends(BinMeans(mean), (np.array([0]), 1)) == {}
    found = ends(BinMeans(mean, mean - 1, mean + 1), (np.array([2, 0]), 1))
    assert {name: values.tolist() for name, values in found.items()} == {"low": [4.0, 0.0], "high": [6.0, 2.0]}


def test_warns_of_groups_without_p_values():
    table = pd.DataFrame({"group": ["a", "b", "c"], "effect": [1.0, 2.0, np.nan], "pval": [0.5, np.nan, np.nan]})
    with pytest.warns(UserWarning, match="No p-values for 'b': a gene needs 20 others"):
        warn_unmatched(table, "effect", "pval")
