"""Tests of the knockout plot by what it draws."""

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

N_GENES = 40


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> AnnData:
    """A screen made by hand: g0 to g2 are significant, g38 was not tested, g39 has no effect."""
    rng = np.random.default_rng(0)
    blocks = []
    for group in ("all", "T cells"):
        score = rng.uniform(0.1, 0.4, N_GENES)
        pval = np.linspace(0.001, 1, N_GENES)
        frame = pd.DataFrame(
            {
                "group": group,
                "gene": [f"g{i}" for i in range(N_GENES)],
                "mean_expression": rng.lognormal(size=N_GENES),
                "score": score,
                "score_expected": 0.5 * score,
                "pval": pval,
                "padj": np.where(np.arange(N_GENES) < 3, 0.01, 0.5),
            }
        )
        frame.loc[38, ["score", "score_expected", "pval", "padj"]] = np.nan
        frame.loc[39, "score"] = 0.0
        blocks.append(frame)
    table = pd.concat(blocks, ignore_index=True)
    table["group"] = pd.Categorical(table["group"], categories=["all", "T cells"])
    adata = AnnData(np.zeros((2, N_GENES), np.float32))
    adata.uns["knockout"] = {"params": {"op": "ko"}, "by_group": table}
    return adata


def drawn(ax: plt.Axes, color: str) -> np.ndarray:
    """Positions of all points of a colour."""
    points = [each for each in ax.collections if isinstance(each, PathCollection)]
    offsets = [each.get_offsets() for each in points if to_hex(each.get_facecolor()[0]) == color]
    return np.concatenate([np.asarray(each) for each in offsets])


@pytest.mark.parametrize("group", [None, "T cells"])
def test_draws_every_tested_gene_once(adata: AnnData, group: str | None):
    ax = wi.pl.knockout(adata, group=group, show=False)
    table = adata.uns["knockout"]["by_group"]
    table = table[table["group"] == (group or "all")].iloc[:38]
    positions = table[["mean_expression", "score"]].to_numpy()
    np.testing.assert_allclose(
        np.sort(drawn(ax, OKABE_ITO["vermillion"].lower()), axis=0), np.sort(positions[:3], axis=0)
    )
    np.testing.assert_allclose(np.sort(drawn(ax, BACKGROUND.lower()), axis=0), np.sort(positions[3:], axis=0))
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_title(loc="left") == (group or "")
    assert "knockout" in ax.get_ylabel()


def test_names_the_top_genes_and_what_is_expected_of_them(adata: AnnData):
    ax = wi.pl.knockout(adata, n_top=5, show=False)
    assert [text.get_text() for text in ax.texts] == ["g0", "g1", "g2", "g3", "g4"]
    table = adata.uns["knockout"]["by_group"].iloc[:5]
    np.testing.assert_allclose(
        np.sort(drawn(ax, OKABE_ITO["blue"].lower()), axis=0),
        np.sort(table[["mean_expression", "score_expected"]].to_numpy(), axis=0),
    )
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["gene", "expected from matched genes", "gene, FDR < 5%"]


def test_without_p_values_the_highest_scores_are_named(adata: AnnData):
    table = adata.uns["knockout"]["by_group"]
    table[["pval", "padj", "score_expected"]] = np.nan
    adata.uns["knockout"]["params"]["op"] = "x0.5"
    ax = wi.pl.knockout(adata, n_top=3, show=False)
    best = table.iloc[:38].sort_values("score", ascending=False)["gene"].head(3)
    assert [text.get_text() for text in ax.texts] == list(best)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["gene"]
    assert "x0.5" in ax.get_ylabel()


def test_draws_into_given_axes_and_writes_nothing(adata: AnnData):
    before = adata.uns["knockout"]["by_group"].copy()
    _, (left, right) = plt.subplots(1, 2)
    assert wi.pl.knockout(adata, n_top=0, ax=right, show=False) is right
    assert not left.collections
    assert not right.texts
    pd.testing.assert_frame_equal(adata.uns["knockout"]["by_group"], before)


def test_missing_data_name_the_tool(adata: AnnData):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.knockout\(adata, model, key_added='other'\)"):
        wi.pl.knockout(adata, key="other")
    with pytest.raises(KeyError, match=r"group='B cells'.*'all', 'T cells'"):
        wi.pl.knockout(adata, group="B cells")
