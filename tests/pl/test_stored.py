"""Tests of reading what a tool stored, or saying what to run."""

from __future__ import annotations

import re

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest

from scwhatif._mudata import without_pulling
from scwhatif.pl._stored import stored, stored_rows


def data(kind: str) -> ad.AnnData | md.MuData:
    adata = ad.AnnData(np.zeros((2, 3), np.float32))
    if kind == "adata":
        return adata
    with without_pulling():
        return md.MuData({"rna": adata})


@pytest.mark.parametrize("kind", ["adata", "mdata"])
def test_result_or_what_to_run(kind: str):
    there = data(kind)
    there.uns["mine"] = {"by_group": 1, "params": {}}
    assert stored(there, "mine", "by_group", "screen", "f(x") == {"by_group": 1, "params": {}}
    there.uns["other"] = {"params": {}}
    there.uns["text"] = "by_group"
    for key in ("other", "text", "absent"):
        message = f"{kind}.uns[{key!r}] holds no screen; run f(x, key_added={key!r})."
        with pytest.raises(KeyError, match=re.escape(message)):
            stored(there, key, "by_group", "screen", "f(x")


@pytest.mark.parametrize(("matrix", "shape"), [("varm", (3, 2)), ("varp", (3, 3))])
def test_array_under_the_same_key(matrix: str, shape: tuple[int, int]):
    adata = data("adata")
    adata.uns["mine"] = {"top": 1}
    with pytest.raises(KeyError, match=r"adata.uns\['mine'\] holds no traversal"):
        stored(adata, "mine", "top", "traversal", "f(x", matrix=matrix)
    getattr(adata, matrix)["mine"] = np.zeros(shape)
    assert stored(adata, "mine", "top", "traversal", "f(x", matrix=matrix) == {"top": 1}


@pytest.mark.parametrize("kind", ["adata", "mdata"])
def test_rows_with_labels(kind: str):
    there = data(kind)
    table = pd.DataFrame(
        {
            "group": pd.Categorical(["all", "B", "all", "B"]),
            "method": pd.Categorical(["ko", "ko", "jacobian", "jacobian"]),
            "score": [1.0, 2.0, 3.0, 4.0],
        }
    )
    there.uns["mine"] = {"by_group": table}
    assert list(stored_rows(there, "mine", "by_group", group="all")["score"]) == [1, 3]
    assert list(stored_rows(there, "mine", "by_group", group="B", method="jacobian")["score"]) == [4]
    with pytest.raises(KeyError, match=rf"group='C' is not in {kind}.uns\['mine'\]; it holds \['B', 'all'\]"):
        stored_rows(there, "mine", "by_group", group="C", method="ko")
    with pytest.raises(KeyError, match=rf"method='shap' is not in {kind}.uns\['mine'\]; it holds \['jacobian', 'ko'\]"):
        stored_rows(there, "mine", "by_group", group="all", method="shap")
