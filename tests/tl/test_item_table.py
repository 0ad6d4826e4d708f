"""Tests of the table of perturbations and stand-ins, on sums made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.engine import FeatureCounts, ScreenSums
from scwhatif.perturbation import Perturbation
from scwhatif.tl._cell_groups import CellGroups
from scwhatif.tl._item_table import ItemNulls, item_table

N_ITEMS, N_PARTS = 30, 6


@pytest.fixture
def groups() -> CellGroups:
    """Two groups of three donors each."""
    parts = np.arange(N_PARTS)
    members = [parts, parts[:3], parts[3:]]
    return CellGroups(np.repeat(parts, 10), N_PARTS, ["a", "b"], members, ["x", "y", "z"], parts % 3)


@pytest.fixture
def sums() -> ScreenSums:
    rng = np.random.default_rng(0)
    n_changed = rng.integers(1, 11, (N_ITEMS, N_PARTS))
    empty = np.zeros((4, N_PARTS))
    counts = FeatureCounts(np.full(N_PARTS, 10), empty, empty, empty, n_changed)
    return ScreenSums(
        rng.normal(size=(N_ITEMS, N_PARTS, 2)), n_changed * rng.random((N_ITEMS, N_PARTS)), n_changed * 0.5, counts
    )


NAMED = {"first": Perturbation.parse("A:x2"), "second": Perturbation.parse("{A,B}:ko + C:thin0.5")}


def test_table(groups: CellGroups, sums: ScreenSums):
    nulls = np.arange(10, 30)
    where = np.array([4, 2])
    tested = [
        [ItemNulls(4, nulls), ItemNulls(2, nulls[:5])],
        [ItemNulls(4, nulls), None],
        [ItemNulls(4, nulls[:0])] * 2,
    ]
    table = item_table(NAMED, groups, sums, tested, where, min_cells=1)
    assert list(table["group"]) == ["all", "all", "a", "a", "b", "b"]
    assert list(table["perturbation"]) == ["first", "second"] * 3
    assert list(table["target"][:2]) == ["A", "{A,B} + C"]
    assert list(table["op"][:2]) == ["x", ""]
    np.testing.assert_array_equal(table["value"][:2], [2, np.nan])
    assert list(table["n_genes"][:2]) == [1, 3]
    assert list(table.index) == list("012345")
    for i, (_, members) in enumerate(groups.strata):
        n_changed = sums.n_changed[:, members].sum(axis=1)
        score = sums.distance[:, members].sum(axis=1) / n_changed
        row = table.iloc[2 * i]
        assert row["n_cells"] == n_changed[4]
        assert row["score"] == pytest.approx(score[4])
        assert row["kl"] == pytest.approx(sums.kl[4, members].sum() / n_changed[4])
        shift = sums.shift[4, members].sum(axis=0) / (10 * len(members))
        assert row["shift_norm"] == pytest.approx(np.linalg.norm(shift))
        if i < 2:
            assert row["pval"] == pytest.approx((1 + (score[nulls] >= score[4]).sum()) / 21)
            assert row["score_expected"] == pytest.approx(np.median(score[nulls]))
            assert row["score_residual"] == pytest.approx(np.log2(score[4] / np.median(score[nulls])))
    assert list(table["n_null"]) == [20, 5, 20, 0, 0, 0]
    # not tested, and tested without stand-ins
    assert np.isnan(table["score"].iloc[3])
    assert table["n_cells"].iloc[3] > 0
    assert table["pval"].iloc[3:].isna().all()
    assert np.isfinite(table["score"].iloc[4])


def test_donors(groups: CellGroups, sums: ScreenSums):
    from scipy.stats import ttest_1samp

    nulls = np.arange(10, 30)
    tested = [[ItemNulls(4, nulls)] * 2] * 3
    table = item_table(NAMED, groups, sums, tested, np.array([4, 4]), min_cells=1)
    residual = []
    for donor in range(3):
        own = np.array([donor, donor + 3])
        score = sums.distance[:, own].sum(axis=1) / sums.n_changed[:, own].sum(axis=1)
        residual.append(np.log2(score[4] / np.median(score[nulls])))
    wanted = ttest_1samp(residual, 0, alternative="greater").pvalue
    assert table["pval_donor"].iloc[0] == pytest.approx(wanted)
    assert table["padj_donor"].iloc[0] == pytest.approx(wanted)
    assert (table["n_donors"] == 3).all()
    few = item_table(NAMED, groups, sums, tested, np.array([4, 4]), min_cells=1000)
    assert (few["n_donors"] == 0).all()
    assert few["pval_donor"].isna().all()


def test_ties_count_against_a_perturbation(groups: CellGroups, sums: ScreenSums):
    sums.distance[:] = sums.n_changed
    sums.distance[4] *= 1 + 1e-12
    tested = [[ItemNulls(4, np.arange(10, 20))] * 2] * 3
    table = item_table(NAMED, groups, sums, tested, np.array([4, 4]), min_cells=1)
    np.testing.assert_array_equal(table["pval"], 1.0)
    sums.distance[:] = 0
    nothing = item_table(NAMED, groups, sums, tested, np.array([4, 4]), min_cells=1)
    np.testing.assert_array_equal(nothing["pval"], 1.0)
    assert nothing["score_residual"].isna().all()
