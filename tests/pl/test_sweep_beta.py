from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def swept() -> AnnData:
    table = pd.DataFrame(
        {
            "beta": [0.5, 0.5, 4.0, 4.0, 50.0, 50.0],
            "seed": [0, 1] * 3,
            "verdict": pd.Categorical(["healthy"] * 4 + ["total_collapse"] * 2),
            "elbo_gain": [3.0, 5.0, 4.0, 4.0, 0.0, 0.1],
            "n_active": [3.0, 3.0, 2.0, 1.0, 0.0, 0.0],
        },
        index=list("012345"),
    )
    summary = table.drop(columns=["seed", "verdict"]).groupby("beta").mean().reset_index()
    summary["elbo_gain_sd"] = 1.0
    summary["stability"] = [0.9, 0.8, np.nan]
    summary["auc"] = np.nan
    summary.index = summary.index.astype(str)
    adata = ad.AnnData(np.zeros((2, 2), np.float32))
    adata.uns["sweep_beta"] = {"table": table, "summary": summary, "recommended_beta": 4.0}
    return adata


def lines(ax: plt.Axes, marker: str) -> list[list[float]]:
    return [point for line in ax.get_lines() if line.get_marker() == marker for point in line.get_xydata().tolist()]


def test_points_are_fits_and_the_line_their_mean(swept: AnnData):
    panels = wi.pl.sweep_beta(swept, show=False)
    assert [panel.get_title(loc="left") for panel in panels] == [
        "held-out gain over no code (nats)",
        "active dimensions",
        "stability over seeds",
    ]
    gain = panels[0]
    assert lines(gain, "o") == [[0.5, 3.0], [0.5, 5.0], [4.0, 4.0], [4.0, 4.0]]
    assert lines(gain, "x") == [[50.0, 0.0], [50.0, 0.1]]
    mean = next(line for line in gain.get_lines() if line.get_marker() == "None" and len(line.get_xdata()) == 3)
    assert mean.get_ydata().tolist() == [4.0, 4.0, 0.05]
    assert lines(panels[2], "s")[:2] == [[0.5, 0.9], [4.0, 0.8]]


def test_axes_are_logarithmic_and_alike(swept: AnnData):
    panels = wi.pl.sweep_beta(swept, show=False)
    assert {panel.get_xscale() for panel in panels} == {"log"}
    assert len({panel.get_xlim() for panel in panels}) == 1


def test_the_recommended_beta_is_marked(swept: AnnData):
    def marked(ax: plt.Axes) -> list[float]:
        return [line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == ":"]

    panels = wi.pl.sweep_beta(swept, show=False)
    assert [marked(panel) for panel in panels] == [[4.0]] * 3
    assert [text.get_text() for text in panels[0].texts] == ["recommended"]
    swept.uns["sweep_beta"]["recommended_beta"] = np.nan
    panels = wi.pl.sweep_beta(swept, show=False)
    assert [marked(panel) for panel in panels] == [[], [], []]
    assert not panels[0].texts


def test_chosen_metrics_in_given_axes(swept: AnnData, tmp_path: Path):
    swept.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    _, axes = plt.subplots(1, 2)
    assert wi.pl.sweep_beta(back, metrics=["n_active", "elbo_gain"], ax=axes, show=False) == list(axes)
    _, ax = plt.subplots()
    assert wi.pl.sweep_beta(back, metrics=["n_active"], ax=ax, show=False) == [ax]
    with pytest.raises(ValueError, match="1 axes for 2 metrics"):
        wi.pl.sweep_beta(back, metrics=["n_active", "elbo_gain"], ax=ax, show=False)


def test_more_panels_than_columns(swept: AnnData):
    panels = wi.pl.sweep_beta(swept, metrics=["n_active"] * 6, show=False)
    assert len(panels) == len(panels[0].figure.axes) == 6


def test_without_its_data(swept: AnnData):
    with pytest.raises(KeyError, match=r"tl\.sweep_beta\(adata, betas, key_added='other'\)"):
        wi.pl.sweep_beta(swept, key="other")
    with pytest.raises(KeyError, match=r"\['MIG'\] are not.*'elbo_gain', 'n_active', 'stability'"):
        wi.pl.sweep_beta(swept, metrics=["MIG"])
    with pytest.raises(KeyError, match="are not in"):
        wi.pl.sweep_beta(swept, metrics=[])
