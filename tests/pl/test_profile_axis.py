from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scwhatif.pl._profile_axis import profile_axis, value_label


@pytest.fixture
def adata() -> ad.AnnData:
    var = pd.DataFrame({"shift": [30, 10, 20], "name": list("abc"), "gap": [1.0, np.nan, 2.0]}, index=list("xyz"))
    return ad.AnnData(np.zeros((2, 3)), var=var)


def test_positions_ascend(adata: ad.AnnData):
    positions, order = profile_axis(adata, "shift")
    assert positions.tolist() == [10.0, 20.0, 30.0]
    assert order.tolist() == [1, 2, 0]


@pytest.mark.parametrize(("x", "error"), [("wavenumber", KeyError), ("name", TypeError), ("gap", TypeError)])
def test_bad_columns(adata: ad.AnnData, x: str, error: type):
    with pytest.raises(error, match=x):
        profile_axis(adata, x)


def test_value_label():
    assert value_label({"library_size": 1e4, "pseudo_count": 1.0}) == "expected counts per 10,000"
    assert value_label({"library_size": 1e4}) == "expected value"
