"""Tests of the tidy table of a screen, on sums made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.engine import FeatureCounts, ScreenSums
from scwhatif.tl._screen_table import screen_table, stratify, with_matches

N_GENES = 60


@pytest.fixture
def counts() -> FeatureCounts:
    """Two groups of 10 and 30 cells."""
    rng = np.random.default_rng(0)
    n_changed = np.column_stack([rng.integers(0, 11, N_GENES), rng.integers(0, 31, N_GENES)])
    total = n_changed * 2.0
    return FeatureCounts(np.array([10, 30]), n_changed, n_changed, total, total)


@pytest.fixture
def weight_norm() -> np.ndarray:
    return np.linspace(0, 1, N_GENES)


def test_strata_add_up(counts: FeatureCounts, weight_norm: np.ndarray):
    both, small, large = stratify(counts, ["small", "large"], weight_norm, ("detection", "mean"), min_cells=5)
    assert [each.name for each in (both, small, large)] == ["all", "small", "large"]
    assert [each.n_cells for each in (both, small, large)] == [40, 10, 30]
    np.testing.assert_array_equal(both.n_changed, small.n_changed + large.n_changed)
    np.testing.assert_array_equal(small.tested, counts.n_changed[:, 0] >= 5)
    np.testing.assert_allclose(both.mean_expression, counts.total.sum(axis=1) / 40)
    np.testing.assert_allclose(large.covariates[:, 0], counts.n_nonzero[:, 1] / 30)
    np.testing.assert_allclose(large.covariates[:, 1], np.log((counts.total[:, 1] + 0.5) / 30))


def test_cells_without_groups_have_one_stratum(counts: FeatureCounts, weight_norm: np.ndarray):
    (only,) = stratify(counts, [], weight_norm, ("weight",), min_cells=1)
    assert only.name == "all"
    # a gene without weights stands next to the smallest, not at minus infinity
    assert np.isfinite(only.covariates).all()


def test_effects_are_means(counts: FeatureCounts, weight_norm: np.ndarray):
    strata = stratify(counts, ["small", "large"], weight_norm, ("mean",), min_cells=5)
    screened, columns = np.array([1, 4, 7, 9]), np.array([4, 9])
    rng = np.random.default_rng(1)
    sums = ScreenSums(rng.normal(size=(4, 2, 3)), rng.random((4, 2)), rng.random((4, 2)))
    names = pd.Index([f"g{i}" for i in range(N_GENES)])
    table = screen_table(strata, sums, screened, columns, names, n_null=0)
    assert list(table["group"]) == ["all", "all", "small", "small", "large", "large"]
    assert list(table["gene"]) == ["g4", "g9"] * 3
    assert list(table.index) == list("012345")
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


def test_matches_are_screened_as_well(counts: FeatureCounts, weight_norm: np.ndarray):
    strata = stratify(counts, ["small", "large"], weight_norm, ("mean", "weight"), min_cells=5)
    columns = np.array([3, 30])
    np.testing.assert_array_equal(with_matches(strata, columns, 0), columns)
    screened = with_matches(strata, columns, 25)
    assert set(columns) < set(screened)
    assert len(screened) < N_GENES
    assert (np.diff(screened) > 0).all()
    sums = ScreenSums(*(np.random.default_rng(0).random((len(screened), 2, *more)) for more in ((3,), (), ())))
    table = screen_table(strata, sums, screened, columns, pd.Index(map(str, range(N_GENES))), n_null=25)
    tested = table["score"].notna()
    assert tested.any()
    assert table.loc[tested, ["pval", "padj", "pval_rank", "score_expected"]].notna().all(axis=None)
    ratio = np.log2(table["score"] / table["score_expected"])
    np.testing.assert_allclose(table["score_residual"], ratio)
