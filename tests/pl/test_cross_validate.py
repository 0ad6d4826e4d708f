"""Tests of the plot of a cross-validation by what it draws."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex
from mudata import MuData

import scwhatif as wi
from scwhatif._mudata import without_pulling
from scwhatif.pl._style import OKABE_ITO


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def mdata() -> MuData:
    """A summary made by hand."""
    rows = [
        {"layer": layer, "inputs": inputs, "method": method, "r2": r2, "low": r2 - width, "high": r2 + width}
        for layer, base, width in (("rna", 0.3, 0.05), ("protein", 0.5, 4.0))
        for inputs, drop in (("imputation", 0.0), ("drivers", 0.2))
        for method, r2 in (("mean", 0.0), ("ridge", base - drop - 0.1), ("MultiOmicLPM", base - drop))
    ]
    summary = pd.DataFrame(rows)
    summary["layer"] = pd.Categorical(summary["layer"], ["rna", "protein"])
    summary["inputs"] = pd.Categorical(summary["inputs"], ["imputation", "drivers"])
    summary["method"] = pd.Categorical(summary["method"], ["mean", "ridge", "MultiOmicLPM"])
    with without_pulling():
        mdata = MuData({"rna": AnnData(np.zeros((2, 2), np.float32))})
    mdata.uns["cross_validate"] = {"summary": summary, "folds": pd.DataFrame({"sample": ["a"]})}
    return mdata


def points(ax: plt.Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in ax.lines if line.get_marker() == "o"}


@pytest.mark.parametrize(("inputs", "drop"), [("imputation", 0.0), ("drivers", 0.2)])
def test_draws_means_with_intervals(mdata: MuData, inputs: str, drop: float):
    ax = wi.pl.cross_validate(mdata, inputs=inputs, show=False)
    found = points(ax)
    assert list(found) == ["ridge", "MultiOmicLPM"]
    np.testing.assert_allclose(found["MultiOmicLPM"][:, 0], [0.3 - drop, 0.5 - drop])
    np.testing.assert_allclose(found["ridge"][:, 0], [0.2 - drop, 0.4 - drop], atol=1e-12)
    assert (found["ridge"][:, 1] < found["MultiOmicLPM"][:, 1]).all()
    spans = ax.collections[1].get_segments()
    np.testing.assert_allclose(spans[0][:, 0], [0.25 - drop, 0.35 - drop])
    assert to_hex(ax.lines[0].get_color()) == OKABE_ITO["blue"].lower()
    assert inputs in ax.get_title(loc="left")


def test_wide_intervals_do_not_squeeze_the_rest(mdata: MuData):
    low, high = wi.pl.cross_validate(mdata, show=False).get_xlim()
    assert -0.2 < low < 0
    assert 0.5 < high < 0.9


def test_chosen_methods_into_given_axes(mdata: MuData):
    ax = plt.figure().subplots()
    assert wi.pl.cross_validate(mdata, methods=["mean"], ax=ax, show=False) is ax
    assert list(points(ax)) == ["mean"]


def test_missing_results_name_the_call(mdata: MuData):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.cross_validate\(mdata, key_added='mine'"):
        wi.pl.cross_validate(mdata, key="mine")
    with pytest.raises(KeyError, match=r"inputs='reconstruction' is not in .*imputation"):
        wi.pl.cross_validate(mdata, inputs="reconstruction")
    with pytest.raises(KeyError, match=r"methods=\['stack'\].*ridge"):
        wi.pl.cross_validate(mdata, methods=["stack"])
