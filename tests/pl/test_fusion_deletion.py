"""Plot of a fusion by layers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scwhatif as wi


@pytest.fixture
def mdata():
    found = wi.datasets.simulate_flow(20, n_drivers=3, n_active=1, n_rna=5, n_protein=4, n_ptm=(3,), fusion_layer=0)
    table = pd.DataFrame(
        {
            "layer": pd.Categorical(["ptm_1", "ptm_0", "ptm_2"]),
            "effect": [0.5, 0.9, 0.2],
            "low": [0.4, 0.0, 0.1],
            "high": [0.6, 1.9, 0.3],
            "n_carriers": [7, 8, 7],
            "n_features": [10, 400, 5],
            "statistic": [12.34, 0.5, np.nan],
            "padj": [0.001, 0.4, np.nan],
        }
    )
    found.uns["fusion_deletion"] = {"table": table, "contrasts": table, "params": {"fusion": "BCR-ABL1"}}
    return found


def test_what_is_drawn(mdata):
    ax = wi.pl.fusion_deletion(mdata, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ptm_1 (10)", "ptm_0 (400)", "ptm_2 (5)"]
    lines, points = ax.collections
    assert points.get_offsets().tolist() == [[0.5, 0], [0.9, 1], [0.2, 2]]
    assert [segment[:, 0].tolist() for segment in lines.get_segments()] == [[0.4, 0.6], [0, 1.9], [0.1, 0.3]]
    assert [to_hex(color) for color in points.get_facecolors()] == ["#d55e00", "#bbbbbb", "#bbbbbb"]
    assert [text.get_text() for text in ax.texts] == ["Z = 12.3", "Z = 0.5", "no verdict"]
    assert ax.get_title(loc="left") == "BCR-ABL1 removed (8 carriers)"
    # the first layer is on top
    assert ax.yaxis_inverted()
    plt.close("all")


def test_no_result(mdata):
    with pytest.raises(KeyError, match=r"scwhatif.tl.fusion_deletion\(mdata, model, fusion, key_added='x'\)"):
        wi.pl.fusion_deletion(mdata, key="x")
