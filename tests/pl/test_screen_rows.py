"""Tests of reading a group's rows, or saying what to run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scwhatif.pl._screen_rows import screen_rows


def test_rows_of_a_group():
    adata = AnnData(np.zeros((1, 1), np.float32))
    table = pd.DataFrame({"group": pd.Categorical(["all", "B", "all"]), "score": [1.0, 2.0, 3.0]})
    adata.uns["mine"] = {"by_group": table}
    assert list(screen_rows(adata, "mine", "all", "f(x")["score"]) == [1, 3]
    with pytest.raises(KeyError, match=r"group='C' is not in adata.uns\['mine'\]; it holds \['B', 'all'\]"):
        screen_rows(adata, "mine", "C", "f(x")
    with pytest.raises(KeyError, match=r"holds no screen; run f\(x, key_added='other'\)"):
        screen_rows(adata, "other", "all", "f(x")
