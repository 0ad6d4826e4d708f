"""Tests of the plot of the leading layer by what it draws."""

from __future__ import annotations

import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.collections import LineCollection

import scwhatif as wi
from scwhatif._mudata import without_pulling

LAYERS = ["ptm_a", "ptm_b"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def mdata() -> md.MuData:
    """The first of two layers leads."""
    rng = np.random.default_rng(0)
    layers = pd.DataFrame({"layer": LAYERS, "n_features": [10, 50], "reader": [0.5, 0.2], "percentile": [99.6, 40.0]})
    layers["leader"] = [True, False]
    measures = pd.DataFrame(
        [(k, measure, rng.random()) for k in LAYERS for measure in ("lead", "shapley", "unique")],
        columns=["layer", "measure", "effect"],
    )
    measures["low"], measures["high"] = measures["effect"] - 0.1, measures["effect"] + 0.1
    sets = pd.DataFrame({"layer": np.repeat(LAYERS, 5), "set": rng.random(10)})
    for table in (layers, measures, sets):
        table["layer"] = pd.Categorical(table["layer"], categories=LAYERS)
    with without_pulling():
        mdata = md.MuData({"rna": AnnData(np.zeros((2, 1), np.float32))})
    mdata.uns["storm_leader"] = {
        "params": {"target": "metabolome"},
        "leader": "ptm_a",
        "layers": layers,
        "measures": measures,
        "sets": sets,
    }
    return mdata


def test_draws_sets_layers_and_measures(mdata):
    left, right = wi.pl.storm_leader(mdata, show=False)
    result = mdata.uns["storm_leader"]
    lines = next(each for each in left.collections if isinstance(each, LineCollection))
    np.testing.assert_allclose([segment[0, 0] for segment in lines.get_segments()], result["sets"]["set"])
    points = [line.get_xydata()[0] for line in left.lines]
    np.testing.assert_allclose(points, [[0.5, 0], [0.2, 1]])
    assert [text.get_text() for text in left.texts] == ["100 %", "40 %"]
    assert left.get_title(loc="left") == "metabolome: ptm_a"
    for panel in (left, right):
        labels = panel.get_yticklabels()
        assert [label.get_text() for label in labels] == ["ptm_a (10)", "ptm_b (50)"]
        assert [label.get_fontweight() for label in labels] == ["bold", "normal"]
    measures = result["measures"].sort_values(["measure", "layer"])
    np.testing.assert_allclose([patch.get_width() for patch in right.patches], measures["effect"])
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["alone", "Shapley share", "unique"]


def test_draws_into_given_axes(mdata):
    _, given = plt.subplots(1, 2)
    assert wi.pl.storm_leader(mdata, ax=given, show=False) == list(given)
    with pytest.raises(ValueError, match="ax holds 1 axes for 2 panels"):
        wi.pl.storm_leader(mdata, ax=given[:1], show=False)


def test_missing_data_name_the_tool(mdata):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.storm_leader\(mdata, model, key_added='other'\)"):
        wi.pl.storm_leader(mdata, key="other")
