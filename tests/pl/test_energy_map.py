from __future__ import annotations

import re

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

LINES = ["A549", "HeLa", "K562", "NHEK"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> ad.AnnData:
    """A map as the tool writes it, of three lines that were seen and one that was not."""
    table = pd.DataFrame({"cell_line": pd.Categorical(LINES), "seen": [True, True, False, True]})
    for name, values in (("slope", [1.0, 1.4, 1.2, 1.1]), ("intercept", [-1, -3, -2, -1.5]), ("R", [0.5, 2, 1.1, 0.8])):
        table[name] = np.array(values, dtype=float)
        table[f"{name}_sd"] = 0.05
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.1, table[name] + 0.2
    adata = ad.AnnData(np.zeros((2, 1), dtype=np.float32))
    adata.uns["energy_map"] = {"lines": table, "params": {}}
    return adata


def points(ax):
    """Positions, and whether they are filled, of the points by their label in the legend."""
    return {
        line.get_label(): (line.get_xydata().tolist(), line.get_markerfacecolor() != "white")
        for line in ax.lines
        if line.get_marker() == "o"
    }


def test_slope_against_intercept_with_ranges(adata):
    ax = wi.pl.energy_map(adata, show=False)
    assert points(ax) == {
        "seen in training": ([[-1, 1.0], [-3, 1.4], [-1.5, 1.1]], True),
        "unseen": ([[-2, 1.2]], False),
    }
    ranges = np.array([segment for each in ax.collections for segment in each.get_segments()])
    across = ranges[np.isclose(ranges[:, 0, 1], ranges[:, 1, 1])]
    assert len(ranges) == 8
    np.testing.assert_allclose(np.sort(across[:, 0, 0]), np.sort([-1.1, -3.1, -2.1, -1.6]))
    assert {text.get_text() for text in ax.texts} == set(LINES)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("intercept of the logit", "slope of the logit")


def test_energies_from_low_to_high(adata):
    ax = wi.pl.energy_map(adata, "R", show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A549", "NHEK", "K562", "HeLa"]
    assert points(ax) == {
        "unseen": ([[1.1, 2]], False),
        "seen in training": ([[0.5, 0], [0.8, 1], [2.0, 3]], True),
    }
    ranges = [segment.tolist() for each in ax.collections for segment in each.get_segments()]
    assert sorted(round(high - low, 6) for (low, _), (high, _) in ranges) == [0.3] * 4


def test_no_legend_where_all_were_seen(adata):
    adata.uns["energy_map"]["lines"]["seen"] = True
    for by in ("slope", "R"):
        assert wi.pl.energy_map(adata, by, show=False).get_legend() is None


def test_slope_of_a_channel(adata):
    table = adata.uns["energy_map"]["lines"]
    renamed = {f"slope{end}": f"slope_1{end}" for end in ("", "_sd", "_low", "_high")}
    adata.uns["energy_map"]["lines"] = table.rename(columns=renamed).drop(columns="R")
    ax = wi.pl.energy_map(adata, channel=1, show=False)
    assert ax.get_ylabel() == "slope of the logit, channel 1"
    with pytest.raises(KeyError, match=re.escape("channel=0 is not in adata.uns['energy_map']; it holds ['slope_1']")):
        wi.pl.energy_map(adata, show=False)
    with pytest.raises(KeyError, match="only the scalar interaction"):
        wi.pl.energy_map(adata, "R", show=False)


def test_given_axes_and_bad_input(adata):
    ax = plt.subplots()[1]
    assert wi.pl.energy_map(adata, "R", ax=ax, show=False) is ax
    with pytest.raises(KeyError, match=re.escape("run scwhatif.tl.energy_map(adata, model, key_added='other')")):
        wi.pl.energy_map(adata, key="other")
    with pytest.raises(ValueError, match="by='T'"):
        wi.pl.energy_map(adata, "T")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="channel=2"):
        wi.pl.energy_map(adata, channel=2)
