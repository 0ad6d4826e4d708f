"""Tests of the plot of resistance drivers by what it draws."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from mudata import MuData

import scwhatif as wi
from scwhatif._mudata import without_pulling
from scwhatif.pl._style import BACKGROUND, OKABE_ITO


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> AnnData:
    """Changes made by hand: one backup, one gene that was not tested."""
    rng = np.random.default_rng(0)
    single = np.append(rng.normal(0, 0.05, 20), np.nan)
    after = single + rng.normal(0, 0.001, 21)
    after[0] = -1.0
    table = pd.DataFrame(
        {
            "gene": [f"g{i}" for i in range(21)],
            "single": single,
            "after": after,
            "low": after - 0.1,
            "high": after + 0.1,
            "synergy_padj": np.where(np.arange(21) == 0, 0.001, 0.8),
        }
    ).sort_values("after")
    table = pd.concat([table.assign(group="all"), table.assign(group="T cells")], ignore_index=True)
    table["group"] = pd.Categorical(table["group"], ["all", "T cells"])
    adata = AnnData(np.zeros((2, 21), np.float32))
    made = {"inhibited": "d:ko", "reference_name": "state: s"}
    adata.uns["resistance_drivers"] = {"params": made, "table": table, "coalitions": 0}
    return adata


def drawn(ax: plt.Axes, color: str) -> np.ndarray:
    points = [each for each in ax.collections if isinstance(each, PathCollection)]
    offsets = [each.get_offsets() for each in points if to_hex(each.get_facecolor()[0]) == color.lower()]
    return np.concatenate([np.asarray(each) for each in offsets])


@pytest.mark.parametrize("group", [None, "T cells"])
def test_draws_every_tested_gene_once_and_names_the_strongest(adata: AnnData, group: str | None):
    ax = wi.pl.resistance_drivers(adata, group=group, n_top=3, show=False)
    table = adata.uns["resistance_drivers"]["table"].iloc[:20]
    np.testing.assert_allclose(drawn(ax, OKABE_ITO["vermillion"]), table[["single", "after"]].iloc[:1])
    np.testing.assert_allclose(drawn(ax, BACKGROUND), table[["single", "after"]].iloc[1:])
    assert [text.get_text() for text in ax.texts] == table["gene"].head(3).tolist()
    assert ax.get_title(loc="left") == ("d:ko → state: s" if group is None else "T cells: d:ko → state: s")
    lines = next(each for each in ax.collections if isinstance(each, LineCollection))
    np.testing.assert_allclose([each[:, 1] for each in lines.get_segments()], table[["low", "high"]].head(3))


def test_without_p_values_and_donors(adata: AnnData):
    table = adata.uns["resistance_drivers"]["table"]
    adata.uns["resistance_drivers"]["table"] = table.drop(columns=["low", "high"]).assign(synergy_padj=np.nan)
    _, (left, right) = plt.subplots(1, 2)
    assert wi.pl.resistance_drivers(adata, n_top=0, ax=right, show=False) is right
    assert not left.collections
    assert len(drawn(right, BACKGROUND)) == 20
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["the same either way", "gene"]


def test_missing_data_name_the_tool(adata: AnnData):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.resistance_drivers\(.*key_added='other'\)"):
        wi.pl.resistance_drivers(adata, key="other")
    with pytest.raises(KeyError, match=r"group='B cells'.*'all', 'T cells'"):
        wi.pl.resistance_drivers(adata, group="B cells")


def test_draws_drivers():
    table = pd.DataFrame(
        {
            "driver": pd.Categorical(["KRAS", "TP53"]),
            "effect": [0.4, -0.1],
            "low": [0.3, -0.2],
            "high": [0.5, 0.0],
            "padj": [0.001, 0.4],
        }
    )
    with without_pulling():
        mdata = MuData({"rna": AnnData(np.zeros((2, 2), np.float32))})
    mdata.uns["resistance_drivers"] = {"params": {"reference_name": "tissue: normal"}, "table": table, "distance": 0}
    _, (left, right) = plt.subplots(1, 2)
    assert wi.pl.resistance_drivers(mdata, ax=right, show=False) is right
    np.testing.assert_allclose([each.get_width() for each in right.patches], [0.4, -0.1])
    assert right.get_xlabel() == "share of distance from tissue: normal"
    assert [text.get_text() for text in right.get_yticklabels()] == ["KRAS", "TP53"]
    assert not left.patches
    with pytest.raises(
        KeyError, match=r"run scwhatif.tl.resistance_drivers\(mdata, model, reference=…, key_added='x'\)"
    ):
        wi.pl.resistance_drivers(mdata, key="x")
    with pytest.raises(KeyError, match="group='lung': drivers have no groups"):
        wi.pl.resistance_drivers(mdata, group="lung")
