"""Tests of the volcano plot by what it draws."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

import scwhatif as wi
from scwhatif.pl._style import BACKGROUND, OKABE_ITO

N = 30


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> AnnData:
    """A screen made by hand: g0 to g2 are significant, g29 was not compared."""
    rng = np.random.default_rng(0)
    blocks = []
    for group in ("all", "T cells"):
        frame = pd.DataFrame(
            {
                "group": group,
                "gene": [f"g{i}" for i in range(N)],
                "score_residual": rng.normal(size=N),
                "pval": np.linspace(0.001, 1, N),
                "padj": np.where(np.arange(N) < 3, 0.01, 0.5),
                "pval_donor": np.linspace(1, 0.001, N),
                "padj_donor": 0.2,
            }
        )
        frame.loc[29, ["score_residual", "pval", "padj"]] = np.nan
        frame.loc[0, "pval"] = 0.0
        blocks.append(frame)
    table = pd.concat(blocks, ignore_index=True)
    table["group"] = pd.Categorical(table["group"], categories=["all", "T cells"])
    adata = AnnData(np.zeros((2, N), np.float32))
    adata.uns["knockout"] = {"params": {}, "by_group": table}
    perturbed = table.rename(columns={"gene": "perturbation"}).drop(columns=["pval_donor", "padj_donor"])
    adata.uns["screen"] = {"params": {}, "by_group": perturbed}
    return adata


def drawn(ax: plt.Axes, color: str) -> np.ndarray:
    points = [each for each in ax.collections if isinstance(each, PathCollection)]
    found = [each.get_offsets() for each in points if to_hex(each.get_facecolor()[0]) == color.lower()]
    return np.concatenate([np.empty((0, 2)), *(np.asarray(each) for each in found)])


@pytest.mark.parametrize("group", [None, "T cells"])
def test_draws_everything_that_was_compared(adata: AnnData, group: str | None):
    ax = wi.pl.volcano(adata, group=group, show=False)
    table = adata.uns["knockout"]["by_group"]
    table = table[table["group"] == (group or "all")].iloc[:29]
    y = -np.log10(np.maximum(table["pval"], 1e-300))
    wanted = np.column_stack([table["score_residual"], y])
    np.testing.assert_allclose(drawn(ax, OKABE_ITO["vermillion"]), wanted[:3])
    np.testing.assert_allclose(np.sort(drawn(ax, BACKGROUND), axis=0), np.sort(wanted[3:], axis=0))
    assert ax.get_title(loc="left") == (group or "")
    assert ax.get_ylim()[0] == 0
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["gene", "gene, FDR < 5%"]


def test_names_those_with_the_smallest_p_values(adata: AnnData):
    ax = wi.pl.volcano(adata, n_top=4, show=False)
    assert [text.get_text() for text in ax.texts] == ["g0", "g1", "g2", "g3"]
    over_donors = wi.pl.volcano(adata, donors=True, n_top=2, show=False)
    assert [text.get_text() for text in over_donors.texts] == ["g28", "g27"]
    assert "donors" in over_donors.get_ylabel()


def test_no_legend_where_all_points_are_of_one_kind(adata: AnnData):
    assert wi.pl.volcano(adata, donors=True, show=False).get_legend() is None


def test_draws_screens_of_any_perturbation(adata: AnnData):
    ax = wi.pl.volcano(adata, key="screen", n_top=1, show=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["perturbation", "perturbation, FDR < 5%"]


def test_draws_into_given_axes_and_writes_nothing(adata: AnnData):
    before = adata.uns["knockout"]["by_group"].copy()
    _, (left, right) = plt.subplots(1, 2)
    assert wi.pl.volcano(adata, n_top=0, ax=right, show=False) is right
    assert not left.collections
    pd.testing.assert_frame_equal(adata.uns["knockout"]["by_group"], before)


def test_missing_data_name_the_tool(adata: AnnData):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.knockout\(adata, model, key_added='other'\)"):
        wi.pl.volcano(adata, key="other")
    with pytest.raises(KeyError, match="run without donors"):
        wi.pl.volcano(adata, key="screen", donors=True)
