"""Tests of the tidy table of a screen, on sums made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.engine import FeatureCounts, ScreenSums
from scwhatif.tl._cell_groups import CellGroups
from scwhatif.tl._screen_table import Stratum, donor_pvalues, gene_covariates, screen_table, stratify, with_matches

N_GENES = 60


@pytest.fixture
def counts() -> FeatureCounts:
    """Two groups of 10 and 30 cells."""
    rng = np.random.default_rng(0)
    n_changed = np.column_stack([rng.integers(0, 11, N_GENES), rng.integers(0, 31, N_GENES)])
    total = n_changed * 2.0
    return FeatureCounts(np.array([10, 30]), n_changed, total, total, n_changed)


@pytest.fixture
def groups() -> CellGroups:
    members = [np.arange(2), np.array([0]), np.array([1])]
    return CellGroups(np.repeat([0, 1], [10, 30]), 2, ["small", "large"], members, [], np.zeros(2, np.int64))


@pytest.fixture
def log_weight() -> np.ndarray:
    return np.log(np.linspace(0.1, 1, N_GENES))


def random_sums(n_items: int, n_groups: int, counts: FeatureCounts, seed: int = 0) -> ScreenSums:
    rng = np.random.default_rng(seed)
    shapes = ((n_items, n_groups, 3), (n_items, n_groups), (n_items, n_groups))
    return ScreenSums(*(rng.random(shape) for shape in shapes), counts)


NAMES = pd.Index([f"g{i}" for i in range(N_GENES)])


def test_strata_add_up(counts: FeatureCounts, groups: CellGroups, log_weight: np.ndarray):
    both, small, large = stratify(counts, groups, log_weight, ("detection", "mean", "weight"), min_cells=5)
    assert [each.name for each in (both, small, large)] == ["all", "small", "large"]
    assert [each.n_cells for each in (both, small, large)] == [40, 10, 30]
    np.testing.assert_array_equal(both.n_changed, small.n_changed + large.n_changed)
    np.testing.assert_array_equal(small.tested, counts.n_changed[:, 0] >= 5)
    np.testing.assert_allclose(both.mean_expression, counts.total.sum(axis=1) / 40)
    np.testing.assert_allclose(large.covariates[:, 0], counts.n_nonzero[:, 1] / 30)
    np.testing.assert_allclose(large.covariates[:, 1], np.log((counts.total[:, 1] + 0.5) / 30))
    np.testing.assert_array_equal(large.covariates[:, 2], log_weight)
    np.testing.assert_array_equal(gene_covariates(counts, np.array([1]), None, ("mean",)), large.covariates[:, 1:2])


def test_cells_without_groups_have_one_stratum(counts: FeatureCounts, log_weight: np.ndarray):
    groups = CellGroups(np.zeros(40, np.int64), 1, [], [np.arange(2)], [], np.zeros(2, np.int64))
    (only,) = stratify(counts, groups, log_weight, ("weight",), min_cells=1)
    assert only.name == "all"
    assert only.by_donor == ()


def test_effects_are_means(counts: FeatureCounts, groups: CellGroups, log_weight: np.ndarray):
    strata = stratify(counts, groups, log_weight, ("mean",), min_cells=5)
    screened, columns = np.array([1, 4, 7, 9]), np.array([4, 9])
    sums = random_sums(4, 2, counts)
    table = screen_table(strata, sums, screened, columns, NAMES, n_null=0)
    assert list(table["group"]) == ["all", "all", "small", "small", "large", "large"]
    assert list(table["gene"]) == ["g4", "g9"] * 3
    assert list(table.index) == list("012345")
    assert "pval_donor" not in table
    for i, stratum in enumerate(strata):
        for j, (column, at) in enumerate(zip(columns, (1, 3), strict=True)):
            row, n = table.iloc[2 * i + j], stratum.n_changed[column]
            assert row["n_cells"] == n
            if n < 5:
                assert row[["score", "kl", "shift_norm"]].isna().all()
                continue
            assert row["score"] == pytest.approx(sums.distance[at, stratum.members].sum() / n)
            assert row["kl"] == pytest.approx(sums.kl[at, stratum.members].sum() / n)
            shift = sums.shift[at, stratum.members].sum(axis=0) / stratum.n_cells
            assert row["shift_norm"] == pytest.approx(np.linalg.norm(shift))
            np.testing.assert_allclose(stratum.mean_shift(sums)[at], shift)
    assert table[["score_expected", "pval", "padj"]].isna().all(axis=None)


def test_matches_are_screened_as_well(counts: FeatureCounts, groups: CellGroups, log_weight: np.ndarray):
    strata = stratify(counts, groups, log_weight, ("mean", "weight"), min_cells=5)
    columns = np.array([3, 30])
    np.testing.assert_array_equal(with_matches(strata, columns, 0), columns)
    screened = with_matches(strata, columns, 25)
    assert set(columns) < set(screened)
    assert len(screened) < N_GENES
    assert (np.diff(screened) > 0).all()
    table = screen_table(strata, random_sums(len(screened), 2, counts), screened, columns, NAMES, n_null=25)
    tested = table["score"].notna()
    assert tested.any()
    assert table.loc[tested, ["pval", "padj", "pval_rank", "score_expected"]].notna().all(axis=None)
    ratio = np.log2(table["score"] / table["score_expected"])
    np.testing.assert_allclose(table["score_residual"], ratio)


def donor_data(n_donors: int = 5) -> tuple[FeatureCounts, CellGroups]:
    """One group, donors of 20 to 24 cells, every gene in nearly all."""
    rng = np.random.default_rng(0)
    n_cells = 20 + np.arange(n_donors)
    n_changed = np.maximum(n_cells - rng.integers(0, 5, (N_GENES, n_donors)), 1)
    total = n_changed * rng.lognormal(size=(N_GENES, 1))
    donors = [f"d{i}" for i in range(n_donors)]
    parts = np.arange(n_donors)
    groups = CellGroups(np.repeat(parts, n_cells), n_donors, [], [parts], donors, parts)
    return FeatureCounts(n_cells, n_changed, total, total, n_changed), groups


def test_donors_are_compared_with_their_own_matches():
    counts, groups = donor_data()
    (stratum,) = stratify(counts, groups, None, ("mean", "detection"), min_cells=10)
    assert [each.name for each in stratum.by_donor] == groups.donors
    np.testing.assert_array_equal(sum(each.n_changed for each in stratum.by_donor), stratum.n_changed)
    everything = np.arange(N_GENES)
    sums = random_sums(N_GENES, 5, counts)
    sums.distance[:] = counts.n_changed * np.exp(0.3 * np.random.default_rng(1).normal(size=sums.distance.shape))
    # one gene far above in every donor, one in a single donor only
    sums.distance[7] *= 8
    sums.distance[8, 0] *= 300
    table = screen_table([stratum], sums, everything, everything, NAMES, n_null=30)
    assert (table["n_donors"] == 5).all()
    assert table["pval_donor"].idxmin() == "7"
    assert table["padj_donor"].iloc[7] < 0.05
    assert table["pval"].iloc[8] < 0.01
    assert table["pval_donor"].iloc[8] > 0.05
    alone = Stratum(**{**vars(stratum.by_donor[2]), "name": "all"})
    own = screen_table([alone], sums, everything, everything, NAMES, n_null=30)["score_residual"]
    assert np.isfinite(own).all()
    # a gene needs its matches in every donor
    assert set(with_matches([alone], np.array([3]), 25)) <= set(with_matches([stratum], np.array([3]), 25))


def test_a_test_over_donors_is_students():
    from scipy.stats import false_discovery_control, ttest_1samp

    rng = np.random.default_rng(0)
    residual = rng.normal(0.5, 1, (6, 40))
    found = donor_pvalues(residual)
    wanted = ttest_1samp(residual, 0, alternative="greater").pvalue
    np.testing.assert_allclose(found["pval_donor"], wanted)
    np.testing.assert_allclose(found["padj_donor"], false_discovery_control(wanted))
    residual[:4, 0] = np.nan
    residual[:2, 1] = np.nan
    residual[:, 2] = 1.0
    found = donor_pvalues(residual)
    assert list(found["n_donors"][:3]) == [2, 4, 6]
    assert np.isnan(found["pval_donor"][0])
    assert found["pval_donor"][1] == pytest.approx(ttest_1samp(residual[2:, 1], 0, alternative="greater").pvalue)
    assert found["pval_donor"][2] < 1e-10
    assert np.isfinite(found["padj_donor"][1:]).all()
    assert np.isnan(donor_pvalues(np.full((2, 3), 1.0))["pval_donor"]).all()


def test_p_values_over_donors_are_uniform_without_effect():
    pval = donor_pvalues(np.random.default_rng(0).normal(size=(5, 4000)))["pval_donor"]
    assert np.abs(np.histogram(pval, bins=5, range=(0, 1))[0] / 4000 - 0.2).max() < 0.03
