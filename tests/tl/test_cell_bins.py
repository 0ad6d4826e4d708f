"""Tests of means over groups and donors against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

from scwhatif.tl._cell_bins import CellBins
from scwhatif.tl._cell_groups import cell_groups

RNG = np.random.default_rng(0)
N = 200


@pytest.fixture
def adata() -> AnnData:
    obs = pd.DataFrame({"type": RNG.choice(["a", "b", "c"], N), "donor": RNG.choice(["d0", "d1", "d2", "d3"], N)})
    return AnnData(np.zeros((N, 1), np.float32), obs=obs.set_index(obs.index.astype(str)))


def summed(bins: CellBins, values: np.ndarray) -> np.ndarray:
    """Sums over the parts, as a screen makes them."""
    return np.stack([np.bincount(bins.codes, each, bins.n_bins + 1)[: bins.n_bins] for each in values])


@pytest.mark.parametrize("left_out", [False, True])
def test_means_over_cells(adata: AnnData, left_out: bool):
    taking_part = np.arange(N) % 3 > 0 if left_out else np.ones(N, bool)
    bins = CellBins.of(cell_groups(adata, "type", None), taking_part if left_out else None)
    values = RNG.normal(size=(2, N))
    found = bins.means(summed(bins, values))
    assert [name for name, _ in bins.strata] == ["all", "a", "b", "c"]
    assert found.low is None
    assert found.high is None
    np.testing.assert_array_equal(bins.taking_part, np.flatnonzero(taking_part))
    for i, name in enumerate(["all", "a", "b", "c"]):
        member = taking_part & ((adata.obs["type"] == name).to_numpy() | (name == "all"))
        np.testing.assert_allclose(found.mean[:, i], values[:, member].mean(axis=1))


def test_means_over_donors(adata: AnnData):
    # one donor has no cell of a type, and counts for nothing there
    adata.obs.loc[(adata.obs["type"] == "b") & (adata.obs["donor"] == "d1"), "donor"] = "d2"
    bins = CellBins.of(cell_groups(adata, "type", "donor"))
    values = RNG.normal(size=(1, N))
    found = bins.means(summed(bins, values))
    for i, name in enumerate(["all", "a", "b", "c"]):
        member = (adata.obs["type"] == name).to_numpy() | (name == "all")
        own = pd.Series(values[0, member]).groupby(adata.obs["donor"].to_numpy()[member]).mean()
        assert len(own) == (3 if name == "b" else 4)
        low, high = stats.t.interval(0.95, len(own) - 1, own.mean(), stats.sem(own))
        np.testing.assert_allclose([found.mean[0, i], found.low[0, i], found.high[0, i]], [own.mean(), low, high])


def test_groups_without_cells_are_left_out_and_one_donor_has_no_interval(adata: AnnData):
    few = (adata.obs["type"] == "a").to_numpy() & (adata.obs["donor"] == "d0").to_numpy()
    bins = CellBins.of(cell_groups(adata, "type", "donor"), few)
    assert [name for name, _ in bins.strata] == ["all", "a"]
    found = bins.means(summed(bins, np.ones((1, N))))
    np.testing.assert_allclose(found.mean, 1)
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
