"""Heat map of drivers by layers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

DRIVERS, LAYERS = ["mut_0", "fusion"], ["rna", "protein", "ptm_0"]


@pytest.fixture
def mdata():
    found = wi.datasets.simulate_flow(20, n_drivers=3, n_active=1, n_rna=5, n_protein=4, n_ptm=(3,), fusion_layer=0)
    table = pd.DataFrame(
        {
            "driver": pd.Categorical(np.repeat(DRIVERS, 3), DRIVERS),
            "layer": pd.Categorical(LAYERS * 2, LAYERS),
            "effect": [0.5, 0.1, 0.2, 3.0, 3.0, 3.0],
            "padj": [0.01, 0.2, 0.04, np.nan, np.nan, np.nan],
            "n_carriers": [9, 9, 9, 3, 2, 3],
        }
    )
    found.uns["gene_knockout"] = {"table": table, "drivers": table, "params": {"set_to": 0}}
    return found


def test_what_is_drawn(mdata):
    ax = wi.pl.gene_knockout(mdata, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == DRIVERS
    assert [label.get_text() for label in ax.get_xticklabels()] == LAYERS
    # the scale is that of tested drivers, not of the rarest
    grey, colors = ax.collections[:2]
    assert colors.get_clim() == (0, 0.5)
    assert np.ma.getmaskarray(colors.get_array()).reshape(2, 3)[1].all()
    assert np.ma.getmaskarray(grey.get_array()).reshape(2, 3)[0].all()
    dots = np.concatenate([each.get_offsets() for each in ax.collections[2:]])
    assert {tuple(dot) for dot in dots} == {(0.5, 0.5), (2.5, 0.5)}
    assert [text.get_text() for text in ax.texts] == ["3", "2", "3"]
    assert ax.get_title(loc="left").startswith("driver removed")
    plt.close("all")


def test_given_axes(mdata):
    mdata.uns["gene_knockout"]["params"]["set_to"] = 1
    ax = plt.subplots()[1]
    assert wi.pl.gene_knockout(mdata, ax=ax, show=False) is ax
    assert ax.get_title(loc="left").startswith("driver added")
    plt.close("all")


def test_no_result(mdata):
    with pytest.raises(KeyError, match=r"scwhatif.tl.gene_knockout\(mdata, model, key_added='ko'\)"):
        wi.pl.gene_knockout(mdata, key="ko")
