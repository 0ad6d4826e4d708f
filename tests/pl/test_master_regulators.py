"""Tests of the plot of master regulators by what it draws."""

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
from scwhatif.pl._style import BACKGROUND, OKABE_ITO

EFFECT = np.array([0.9, -0.7, 0.5, -0.2, np.nan])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> AnnData:
    """Effects made by hand: two are significant, one gene was not tested."""
    blocks = [
        pd.DataFrame(
            {
                "method": method,
                "group": group,
                "gene": [f"g{i}" for i in range(5)],
                "effect": sign * EFFECT,
                "low": sign * EFFECT - 0.1,
                "high": sign * EFFECT + 0.1,
                "null_sd": 0.2,
                "padj": [0.01, 0.02, 0.5, 0.9, np.nan],
            }
        )
        for method, sign in (("ko", 1), ("jacobian", -1))
        for group in ("all", "T cells")
    ]
    table = pd.concat(blocks, ignore_index=True)
    table["method"] = pd.Categorical(table["method"], ["ko", "jacobian"])
    table["group"] = pd.Categorical(table["group"], ["all", "T cells"])
    adata = AnnData(np.zeros((2, 5), np.float32))
    adata.uns["master_regulators"] = {"params": {"target_name": "axis_x"}, "table": table, "agreement": 0}
    return adata


def bars(ax: plt.Axes, height: float) -> list:
    return [each for each in ax.patches if each.get_height() == pytest.approx(height)]


@pytest.mark.parametrize(("method", "sign"), [(None, 1), ("jacobian", -1)])
def test_draws_effects_from_the_largest_down(adata: AnnData, method: str | None, sign: int):
    ax = wi.pl.master_regulators(adata, method=method, group="T cells", n_top=4, show=False)
    found = bars(ax, 0.55)
    np.testing.assert_allclose([each.get_width() for each in found], sign * EFFECT[:4])
    up, down = (OKABE_ITO[name].lower() for name in ("vermillion", "blue"))
    wanted = [*((up, down) if sign > 0 else (down, up)), BACKGROUND.lower(), BACKGROUND.lower()]
    assert [to_hex(each.get_facecolor()) for each in found] == wanted
    assert [label.get_text() for label in ax.get_yticklabels()] == ["g0", "g1", "g2", "g3"]
    assert ax.yaxis_inverted()
    assert "axis_x" in ax.get_xlabel()
    assert ax.get_title(loc="left") == "T cells"
    bands = bars(ax, 0.9)
    np.testing.assert_allclose([(each.get_x(), each.get_width()) for each in bands], [(-0.4, 0.8)] * 4)


def test_whiskers_and_bands_only_where_there_are_any(adata: AnnData):
    ax = wi.pl.master_regulators(adata, show=False)
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose([each[:, 0] for each in segments], np.c_[EFFECT - 0.1, EFFECT + 0.1][:4])
    table = adata.uns["master_regulators"]["table"]
    adata.uns["master_regulators"]["table"] = table.drop(columns=["low", "high"]).assign(null_sd=np.nan, padj=np.nan)
    ax = wi.pl.master_regulators(adata, show=False)
    assert not ax.collections
    assert not bars(ax, 0.9)
    assert ax.get_legend() is None


def test_draws_into_given_axes(adata: AnnData):
    _, (left, right) = plt.subplots(1, 2)
    assert wi.pl.master_regulators(adata, ax=right, show=False) is right
    assert not left.patches


def test_missing_data_name_the_tool(adata: AnnData):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.master_regulators\(adata, model, target, key_added='other'\)"):
        wi.pl.master_regulators(adata, key="other")
    with pytest.raises(KeyError, match=r"group='B cells'.*'all', 'T cells'"):
        wi.pl.master_regulators(adata, group="B cells")
    with pytest.raises(KeyError, match=r"method='shap'.*'ko', 'jacobian'"):
        wi.pl.master_regulators(adata, method="shap")


@pytest.fixture
def mdata() -> MuData:
    """Effects of three drivers, of which one is a master."""
    table = pd.DataFrame(
        {
            "method": pd.Categorical(["difference"] * 3),
            "driver": pd.Categorical(["KRAS", "TP53", "RB1"]),
            "effect": [0.4, 0.1, -0.2],
            "low": [0.3, -0.1, -0.3],
            "high": [0.5, 0.3, -0.1],
            "padj": [0.001, 0.4, 0.01],
            "master": [True, False, False],
        }
    )
    with without_pulling():
        mdata = MuData({"rna": AnnData(np.zeros((2, 2), np.float32))})
    mdata.uns["master_regulators"] = {"params": {"target_name": "PTM storm"}, "table": table, "agreement": 0}
    return mdata


def test_draws_drivers(mdata: MuData):
    ax = wi.pl.master_regulators(mdata, n_top=2, show=False)
    np.testing.assert_allclose([each.get_width() for each in bars(ax, 0.55)], [0.4, 0.1])
    assert [(text.get_text(), text.get_fontweight()) for text in ax.get_yticklabels()] == [
        ("KRAS", "bold"),
        ("TP53", "normal"),
    ]
    assert ax.get_xlabel() == "change of PTM storm by the driver"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["95 % interval"]
    assert not bars(ax, 0.9)


def test_missing_data_of_drivers(mdata: MuData):
    with pytest.raises(
        KeyError, match=r"run scwhatif.tl.master_regulators\(mdata, model, 'storm', key_added='other'\)"
    ):
        wi.pl.master_regulators(mdata, key="other")
    with pytest.raises(KeyError, match="group='lung': drivers have no groups"):
        wi.pl.master_regulators(mdata, group="lung")
