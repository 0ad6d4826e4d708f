from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from scwhatif.pl._group_colors import group_colors
from scwhatif.pl._style import OKABE_ITO


def with_groups(names: list[str]) -> ad.AnnData:
    return ad.AnnData(np.zeros((len(names), 1)), obs=pd.DataFrame({"g": pd.Categorical(names)}, index=names))


def test_those_of_scanpy_if_they_fit():
    adata = with_groups(["a", "b", "c"])
    adata.uns["g_colors"] = ["#111111", "#222222", "#333333"]
    assert group_colors(adata, "g", ["a", "c"]) == {"a": "#111111", "c": "#333333"}
    adata.uns["g_colors"] = ["#111111"]
    assert list(group_colors(adata, "g", ["a", "b"]).values()) == list(OKABE_ITO.values())[:2]


@pytest.mark.parametrize("n", [7, 8, 28, 102])
def test_all_differ(n: int):
    names = [f"g{i}" for i in range(n)]
    colors = group_colors(with_groups(names), "g", names)
    assert list(colors) == names
    assert len({to_rgb(color) for color in colors.values()}) == n
