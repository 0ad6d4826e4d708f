"""What the plot of checkpoints draws."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scwhatif as wi


@pytest.fixture
def adata():
    cells = ad.AnnData(np.zeros((3, 2), np.float32))
    table = pd.DataFrame(
        {
            "checkpoint": ["epoch=0", "epoch=1", "epoch=2"],
            "epoch": [1.0, 2.0, 3.0],
            "status": ["ok", "warn", "error"],
            "erank_ratio": [0.9, 0.5, 0.1],
            "map": [0.5, 0.6, 0.4],
        },
        index=["0", "1", "2"],
    )
    cells.uns["checkpoint_health"] = {"table": table, "params": {}}
    return cells


def test_lines_and_status(adata):
    ax = wi.pl.checkpoint_health(adata, show=False)
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert set(lines) == {"erank ratio", "map"}
    np.testing.assert_array_equal(lines["map"].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(lines["map"].get_ydata(), [0.5, 0.6, 0.4])
    assert [to_hex(color).upper() for color in ax.collections[0].get_facecolors()] == ["#009E73", "#E69F00", "#D55E00"]
    assert ax.get_xlabel() == "epoch"
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
    plt.close("all")


def test_names_where_there_are_no_epochs(adata):
    adata.uns["checkpoint_health"]["table"]["epoch"] = np.nan
    ax = wi.pl.checkpoint_health(adata, ["map"], show=False)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["epoch=0", "epoch=1", "epoch=2"]
    assert ax.get_xlabel() == "checkpoint"
    plt.close("all")


def test_nothing_to_draw(adata):
    with pytest.raises(KeyError, match=r"tl\.checkpoint_health\(adata, paths, model_class=…, key_added='other'\)"):
        wi.pl.checkpoint_health(adata, key="other")
    with pytest.raises(KeyError, match="'auc', which is no number of the table"):
        wi.pl.checkpoint_health(adata, ["auc"])
