"""What the plot of runs draws."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

RUN = pd.DataFrame({"epoch": range(5), "map": [0.5, 0.6, 0.7, 0.6, 0.6], "loss": [5.0, 4.0, 3.0, 2.0, 1.0]})


@pytest.fixture
def adata():
    cells = ad.AnnData(np.zeros((3, 2), np.float32))
    wi.tl.compare_runs(cells, {"low": RUN.assign(map=0.55), "high": RUN, "half": RUN[::2].assign(ratio=2.0)})
    return cells


def test_lines_best_epochs_and_start(adata):
    axes = wi.pl.compare_runs(adata, show=False)
    assert [ax.get_ylabel() for ax in axes] == ["mean average precision", "inter / intra, all pairs", "loss (training)"]
    lines = {line.get_label(): line for line in axes[0].get_lines()[::2]}
    np.testing.assert_array_equal(lines["high"].get_ydata(), RUN["map"])
    np.testing.assert_array_equal(lines["half"].get_xdata(), [0, 2, 4])
    points = axes[0].get_lines()[1::2]
    assert [(point.get_xdata()[0], point.get_ydata()[0]) for point in points[:3]] == [(2, 0.7), (2, 0.7), (0, 0.55)]
    assert axes[0].get_lines()[-1].get_ydata()[0] == 0.55
    assert len(axes[1].get_lines()[0].get_xdata()) + len(axes[1].get_lines()[2].get_xdata()) == 3
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["high", "half", "low"]
    plt.close("all")


def test_chosen_metrics_on_given_axes(adata):
    _, ax = plt.subplots()
    assert wi.pl.compare_runs(adata, ["loss"], ax=ax, show=False) == [ax]
    assert ax.get_ylabel() == "loss (training)"
    with pytest.raises(ValueError, match="1 axes for 2 metrics"):
        wi.pl.compare_runs(adata, ["loss", "map"], ax=ax, show=False)
    plt.close("all")


def test_nothing_to_draw(adata):
    with pytest.raises(KeyError, match=r"tl\.compare_runs\(adata, runs, key_added='other'\)"):
        wi.pl.compare_runs(adata, key="other")
    with pytest.raises(KeyError, match=r"'auc', which is no number of the runs; known are"):
        wi.pl.compare_runs(adata, ["auc"])
