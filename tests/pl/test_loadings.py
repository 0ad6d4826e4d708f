from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scwhatif as wi
from scwhatif.pl._style import OKABE_ITO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def adata() -> AnnData:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(np.ones((3, 30), dtype=np.float32))
    table = pd.DataFrame(rng.normal(size=(30, 7)), adata.var_names, [f"z{j}" for j in range(7)])
    table["z6"] = table["z6"].abs() + 0.1
    adata.varm["wi_loadings"] = table
    share = pd.DataFrame({"explained_share": [0.4, 0.3, 0.1, 0.1, 0.05, 0.03, 0.02]}, index=table.columns)
    adata.uns["wi_loadings"] = {"dimensions": share, "params": {"log_scale": True}}
    return adata


def test_bars_are_the_largest_loadings_of_either_sign(adata: AnnData):
    drawn = wi.pl.loadings(adata, n_top=4, show=False)
    assert [ax.get_title(loc="left") for ax in drawn[:2]] == ["z0  40%", "z1  30%"]
    for ax, dim in zip(drawn[:6], adata.varm["wi_loadings"], strict=False):
        column = adata.varm["wi_loadings"][dim].sort_values(ascending=False)
        expected = pd.concat([column[:4], column[-4:]])
        np.testing.assert_allclose([bar.get_width() for bar in ax.patches], expected)
        assert [label.get_text() for label in ax.get_yticklabels()] == list(expected.index)
        assert [to_hex(bar.get_facecolor()).upper() for bar in ax.patches] == (
            [OKABE_ITO["vermillion"]] * 4 + [OKABE_ITO["blue"]] * 4
        )


def test_a_dimension_that_only_raises_has_no_lower_end(adata: AnnData):
    (ax,) = wi.pl.loadings(adata, dims="z6", n_top=4, show=False)
    assert len(ax.patches) == 4


def test_layout(adata: AnnData):
    drawn = wi.pl.loadings(adata, show=False)
    assert len(drawn) == len(drawn[0].figure.axes) == 7
    assert drawn[0].figure.get_supxlabel() == "log fold change per unit"
    # one scale, so that dimensions can be compared
    assert len({ax.get_xlim() for ax in drawn}) == 1


def test_given_axes(adata: AnnData):
    _, axes = plt.subplots(1, 2)
    assert wi.pl.loadings(adata, dims=["z3", "z1"], ax=axes, show=False) == list(axes)
    assert axes[0].get_title(loc="left").startswith("z3")
    _, ax = plt.subplots()
    assert wi.pl.loadings(adata, dims="z2", ax=ax, show=False) == [ax]
    with pytest.raises(ValueError, match=r"1 axes for 7 dimension"):
        wi.pl.loadings(adata, ax=ax)


def test_any_data_frame_will_do(adata: AnnData):
    adata.varm["nmf"] = adata.varm["wi_loadings"][["z1"]].rename(columns={"z1": "part"})
    (ax,) = wi.pl.loadings(adata, key="nmf", show=False)
    assert ax.get_title(loc="left") == "part"
    assert ax.figure.get_supxlabel() == "loading"


def test_without_its_data(adata: AnnData):
    with pytest.raises(KeyError, match=r"tl\.loadings\(adata, model, key_added='other'\)"):
        wi.pl.loadings(adata, key="other")
    with pytest.raises(KeyError, match=r"\['z9'\].*it holds"):
        wi.pl.loadings(adata, dims=["z0", "z9"])
