"""What the plot of groups draws."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi


@pytest.fixture
def adata():
    cells = ad.AnnData(np.zeros((4, 2), np.float32))
    groups = pd.DataFrame(
        {
            "group": ["far", "near", "mixed", "alone"],
            "n": [10, 9, 8, 1],
            "intra": [0.5, 0.6, 0.9, np.nan],
            "nearest": ["near", "mixed", "near", "far"],
            "inter": [1.4, 0.8, 0.8, 1.2],
            "nn_accuracy": [1.0, 0.9, 0.4, np.nan],
        },
        index=list("0123"),
    )
    scores = pd.DataFrame({"score": ["intra", "ratio"], "value": [0.7, 1.853], "shuffled": [1.0, 0.999]})
    cells.uns["cluster_geometry"] = {"groups": groups, "scores": scores, "params": {"groupby": "cell_type"}}
    return cells


def test_points_order_and_names(adata):
    ax = wi.pl.cluster_geometry(adata, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["alone", "mixed", "near", "far"]
    assert [text.get_text() for text in ax.texts] == ["nearest", "far", "near", "mixed", "near"]
    lines, intra, inter = ax.collections
    np.testing.assert_allclose(intra.get_offsets().filled(np.nan)[1:], [[0.9, 1], [0.6, 2], [0.5, 3]])
    np.testing.assert_allclose(inter.get_offsets(), [[1.2, 0], [0.8, 1], [0.8, 2], [1.4, 3]])
    np.testing.assert_allclose(lines.get_segments()[3], [[0.5, 3], [1.4, 3]])
    # only the group that lies nearer to another one
    assert [text.get_color() == "#D55E00" for text in ax.texts[1:]] == [False, True, False, False]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["within the group", "to the nearest group"]
    assert ax.get_title(loc="left") == "inter / intra 1.85 (shuffled 1.00)"
    assert ax.get_ylabel() == "cell_type"
    plt.close("all")


def test_without_shuffles_on_given_axes(adata):
    adata.uns["cluster_geometry"]["scores"]["shuffled"] = np.nan
    _, ax = plt.subplots()
    assert wi.pl.cluster_geometry(adata, ax=ax, show=False) is ax
    assert ax.get_title(loc="left") == "inter / intra 1.85"
    plt.close("all")


def test_what_the_tool_writes_is_drawn():
    cells = wi.datasets.simulate_factors(100, 20, 4, n_cell_types=3, seed=0)
    wi.tl.cluster_geometry(cells, groupby="cell_type", use_rep="true_factors", n_shuffles=2, key_added="here")
    ax = wi.pl.cluster_geometry(cells, key="here", show=False)
    groups = cells.uns["here"]["groups"]
    assert sorted(ax.collections[1].get_offsets()[:, 0]) == pytest.approx(sorted(groups["intra"]))
    plt.close("all")


def test_nothing_to_draw(adata):
    with pytest.raises(KeyError, match=r"tl\.cluster_geometry\(adata, groupby=…, key_added='other'\)"):
        wi.pl.cluster_geometry(adata, key="other")
