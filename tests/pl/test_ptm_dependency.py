"""Tests of the plot of dependencies by what it draws."""

from __future__ import annotations

import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scwhatif as wi
from scwhatif._mudata import without_pulling

LAYERS = ["ptm_a", "ptm_b"]
SOURCES = ["rna", "protein", "ptm_a", "ptm_b"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def mdata() -> md.MuData:
    """Two layers, of which the second has no parents; the first is told from others by luck alone."""
    rng = np.random.default_rng(0)
    layers = pd.DataFrame(
        [("ptm_a", "all", 0.5, 0.3), ("ptm_a", "parent", 0.2, 0.01), ("ptm_b", "all", 0.7, 0.01)],
        columns=["layer", "measure", "effect", "padj"],
    )
    layers["low"], layers["high"] = layers["effect"] - 0.1, layers["effect"] + 0.1
    pairs = [(k, source) for k in LAYERS for source in SOURCES if source != k]
    sources = pd.DataFrame(
        [(*pair, measure, rng.random()) for pair in pairs for measure in ("alone", "unique")],
        columns=["layer", "source", "measure", "effect"],
    )
    for table in (layers, sources):
        table["layer"] = pd.Categorical(table["layer"], categories=LAYERS)
    sources["source"] = pd.Categorical(sources["source"], categories=SOURCES)
    with without_pulling():
        mdata = md.MuData({"rna": AnnData(np.zeros((2, 1), np.float32))})
    mdata.uns["ptm_dependency"] = {"params": {}, "layers": layers, "sources": sources}
    return mdata


def test_matrix_holds_every_pair_and_bars_every_measure(mdata):
    matrix, bars = wi.pl.ptm_dependency(mdata, show=False)
    sources = mdata.uns["ptm_dependency"]["sources"]
    assert len(matrix.texts) == 6
    drawn = {text.get_position(): text.get_text() for text in matrix.texts}
    for row, layer in enumerate(LAYERS):
        for column, source in enumerate(SOURCES):
            cell = sources[(sources["layer"] == layer) & (sources["source"] == source)].set_index("measure")["effect"]
            wanted = f"{cell['alone']:.2f}\n({cell['unique']:.2f})" if len(cell) else None
            assert drawn.get((column + 0.5, row + 0.5)) == wanted
    assert [label.get_text() for label in matrix.get_yticklabels()] == LAYERS
    widths = [patch.get_width() for patch in bars.patches]
    np.testing.assert_allclose(widths, [0.5, 0.7, 0.2])
    assert [patch.get_alpha() for patch in bars.patches] == [0.35, 1.0, 1.0]
    labels = [text.get_text() for text in bars.get_legend().get_texts()]
    assert labels == ["all other layers", "parent protein alone"]


def test_draws_into_given_axes(mdata):
    _, given = plt.subplots(1, 2)
    assert wi.pl.ptm_dependency(mdata, ax=given, show=False) == list(given)
    with pytest.raises(ValueError, match="ax holds 1 axes for 2 panels"):
        wi.pl.ptm_dependency(mdata, ax=given[:1], show=False)


def test_missing_data_name_the_tool(mdata):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.ptm_dependency\(mdata, model, key_added='other'\)"):
        wi.pl.ptm_dependency(mdata, key="other")
