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


def used(kl: list[float], verdict: str, share: list[float] | None = None) -> AnnData:
    table = pd.DataFrame(
        {
            "kl": kl,
            "mutual_information": [0.8 * each for each in kl],
            "active": [each > 0.1 for each in kl],
            "explained_share": share or [np.nan] * len(kl),
        },
        index=[f"z{j}" for j in range(len(kl))],
    )
    adata = ad.AnnData(np.zeros((2, 2), np.float32))
    adata.uns["latent_usage"] = {"table": table, "verdict": verdict, "params": {"active_kl": 0.1}}
    return adata


@pytest.fixture
def partial() -> AnnData:
    return used([1.2, 0.7, 0.05, 0.0, 0.0], "partial_collapse", [0.7, 0.25, 0.05, 0.0, 0.0])


def test_bars_are_kl_and_information(partial: AnnData):
    ax = wi.pl.latent_usage(partial, show=False)
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, [1.2, 0.7, 0.05, 0, 0, 0.96, 0.56, 0.04, 0, 0])
    assert ax.get_title(loc="left") == "2 of 5 dimensions active: partially collapsed"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["z0", "z1", "z2", "z3", "z4"]


def test_dead_dimensions_are_marked(partial: AnnData):
    ax = wi.pl.latent_usage(partial, show=False)
    crosses = next(line for line in ax.get_lines() if line.get_marker() == "x")
    assert crosses.get_xdata().tolist() == [2, 3, 4]
    colors = [bar.get_facecolor()[:3] for bar in ax.patches[:5]]
    assert colors[0] == colors[1]
    assert colors[0] != colors[2] == colors[4]


def test_shares_of_active_dimensions_stand_on_the_right(partial: AnnData):
    ax = wi.pl.latent_usage(partial, show=False)
    right = next(each for each in ax.figure.axes if each is not ax)
    (points,) = right.get_lines()
    assert points.get_xdata().tolist() == [0, 1]
    assert points.get_ydata().tolist() == [0.7, 0.25]
    assert len(wi.pl.latent_usage(used([1.0], "healthy"), show=False).figure.axes) == 1


def test_a_collapse_is_not_blown_up():
    ax = wi.pl.latent_usage(used([1e-5, 2e-5], "total_collapse", [0.9, 0.1]), show=False)
    assert ax.get_ylim() == (0, 0.5)
    assert len(ax.figure.axes) == 1
    assert ax.get_title(loc="left").endswith("totally collapsed")


def test_one_dimension_given_axes_and_what_was_read_from_a_file(partial: AnnData, tmp_path: Path):
    partial.write_h5ad(tmp_path / "x.h5ad")
    _, ax = plt.subplots()
    assert wi.pl.latent_usage(ad.read_h5ad(tmp_path / "x.h5ad"), ax=ax, show=False) is ax
    assert len(ax.patches) == 10
    assert len(wi.pl.latent_usage(used([0.4], "healthy"), show=False).patches) == 2


def test_without_its_data(partial: AnnData):
    with pytest.raises(KeyError, match=r"tl\.latent_usage\(adata, model, key_added='other'\)"):
        wi.pl.latent_usage(partial, key="other")
