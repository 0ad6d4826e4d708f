"""Details of the tables; what they say of planted markers is in test_rank_latent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from scwhatif.tl._rank_tables import (
    Ranked,
    diagnostic_table,
    dimension_table,
    floor_table,
    held_out_table,
    pairwise_table,
    residual_correlation,
)


@pytest.fixture(scope="module")
def ranked() -> Ranked:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 30)
    values = rng.normal(size=(90, 3))
    values[:, 2] += 4 * (codes == 1) - 4 * (codes == 2)
    values[:, 1] = values[:, 0] + 0.1 * rng.normal(size=90)
    return Ranked(values, ["u", "v", "w/x"], codes, ["a", "b", "c"], np.array([True, True, True]))


@pytest.fixture(scope="module")
def tables(ranked: Ranked) -> tuple:
    folds = np.arange(90) % 5
    table, chance = dimension_table(ranked, 19, blocks=None, seed=0)
    codes = {"latent": ranked.values, "pca": ranked.values[:, :2]}
    held_out = held_out_table(codes, {"latent": ranked.dims, "pca": ["pca0", "pca1"]}, ranked, folds)
    return table, chance, held_out


def test_floors_hold_what_was_tried(ranked: Ranked, tables: tuple):
    table, chance, held_out = tables
    floors = floor_table(table, held_out, ranked, chance)
    assert list(floors) == ["group", "n_cells", "best_dimension", "auc", "chance_auc", "pc_auc"]
    assert floors["best_dimension"].tolist()[1:] == ["w/x", "w/x"]
    assert (floors["auc"] > floors["chance_auc"]).tolist()[1:] == [True, True]


def test_diagnostic_is_the_best_of_the_table(ranked: Ranked, tables: tuple):
    table, _, held_out = tables
    found = diagnostic_table(table, held_out, ranked).set_index("group")
    assert found.loc["b", "dimension"] == "w/x"
    assert found["direction"].tolist()[1:] == [1, -1]
    # halfway between the means of the group and of its nearest neighbour
    assert found.loc["b", "threshold"] == pytest.approx(2, abs=0.7)
    assert found.loc["c", "threshold"] == pytest.approx(-2, abs=0.7)
    assert found.loc["b", ["sensitivity", "specificity"]].min() > 0.9
    assert found.loc["b", "agreement"] == 1
    assert set(found["best_floor"]) == {"pca"}
    assert found.loc["b", "best_floor_auc"] < 0.75
    only = held_out[held_out["representation"] == "latent"]
    assert "best_floor" not in diagnostic_table(table, only, ranked)


def test_pairs_are_complete_and_sorted(ranked: Ranked):
    table = pairwise_table(ranked, 19, blocks=None, seed=0)
    assert len(table) == 3 * 3
    best = table.drop_duplicates(["group", "other"])
    assert best["dimension"].tolist() == ["w/x"] * 3
    assert best["direction"].tolist() == [-1, 1, 1]
    assert (best["padj"] < 1e-6).all()
    assert best["separation"].min() > 0.85


def test_pairs_of_whole_groups_are_uniform_without_structure():
    """The best of four dimensions, over many sets of twelve donors that differ in all of them."""
    rng = np.random.default_rng(1)
    donors = np.repeat(np.arange(12), 6)
    pvals = []
    for seed in range(120):
        values = 2 * rng.normal(size=(12, 4))[donors] + rng.normal(size=(72, 4))
        codes = rng.permutation(np.repeat([0, 1], 6))[donors]
        given = Ranked(values, list("pqrs"), codes, ["a", "b"], np.ones(4, dtype=bool))
        pvals.append(pairwise_table(given, 39, blocks=donors, seed=seed)["pval"].iloc[0])
    # p-values are multiples of 1/40; spread each over its step
    assert kstest(np.array(pvals) - rng.uniform(0, 1 / 40, len(pvals)), "uniform").pvalue > 0.01


def test_correlation(ranked: Ranked):
    found = residual_correlation(ranked)
    assert list(found["pair"]) == ["u", "v"]
    assert found["max_abs"] == pytest.approx(np.corrcoef(ranked.values[:, 0], ranked.values[:, 1])[0, 1])
    logdet = np.linalg.slogdet(np.corrcoef(ranked.values, rowvar=False))[1]
    assert found["total_correlation"] == pytest.approx(-logdet / 2)
    for active, n in (([True, False, False], 1), ([False, False, False], 0)):
        few = residual_correlation(ranked._replace(active=np.array(active)))
        assert (few["n_active"], few["max_abs"], len(few["pair"]), few["total_correlation"]) == (n, 0, 0, 0)
