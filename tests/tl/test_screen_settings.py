"""Tests of what every screen refuses before it starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scwhatif.metrics import MIN_MATCHED
from scwhatif.tl._screen_settings import (
    check_match_on,
    check_n_null,
    check_pairs,
    check_plan,
    gene_columns,
    open_store,
    read_op,
)


def plan(**kwargs: Any) -> Any:
    return SimpleNamespace(**{"signed": False, "weight_norm": np.ones(3), **kwargs})


def test_plans():
    check_plan(plan(), "SCVI", library="renorm", match_on=("mean", "weight"))
    check_plan(plan(signed=True, weight_norm=None), "SCVI", library="original", match_on=("mean",))
    with pytest.raises(ValueError, match=r"library='free' must be one of \('original', 'renorm'\)"):
        check_plan(plan(), "SCVI", library="free", match_on=("mean",))
    with pytest.raises(ValueError, match="features are continuous"):
        check_plan(plan(signed=True), "SCVI", library="renorm", match_on=("mean",))
    with pytest.raises(ValueError, match="encoder of MRVI has no weights per gene"):
        check_plan(plan(weight_norm=None), "MRVI", library="original", match_on=("weight",))


@pytest.mark.parametrize("match_on", ["mean", (), ("mean", "expression")])
def test_covariates(match_on: Any):
    check_match_on(("weight", "mean"))
    with pytest.raises(ValueError, match="match_on="):
        check_match_on(match_on)


def test_number_of_matched_genes():
    for n_null in (0, MIN_MATCHED):
        check_n_null(n_null)
    for n_null in (-1, MIN_MATCHED - 1):
        with pytest.raises(ValueError, match=f"n_null={n_null} is too few .* use {MIN_MATCHED} or more"):
            check_n_null(n_null)


def test_pairs():
    for pairs, store in ((None, None), (None, "s"), ("layer", None), ("zarr", "s")):
        check_pairs(pairs, store)
    with pytest.raises(ValueError, match="pairs='csr' must be None or one of"):
        check_pairs("csr", None)
    with pytest.raises(ValueError, match="needs store="):
        check_pairs("zarr", None)
    with pytest.raises(ValueError, match="exclude each other"):
        check_pairs("layer", "s")


def test_a_store_is_told_what_makes_the_screen(tmp_path):
    assert open_store(None, {}) is None
    store = open_store(tmp_path / "s", {"model_hash": "abc", "op": "ko", "n_null": 100})
    assert store.fingerprint == {"model_hash": "abc", "op": "ko"}
    assert not (tmp_path / "s").exists()


def test_operations():
    assert (read_op("x0.5").op, read_op("x0.5").value) == ("x", 0.5)
    for op in ("ko + b:ko", "hide", ""):
        with pytest.raises(ValueError, match=r"op=|expected"):
            read_op(op)


def test_genes_are_sorted_columns():
    adata = AnnData(np.zeros((1, 4), np.float32), var=pd.DataFrame(index=list("dcba")))
    assert list(gene_columns(adata, None)) == [0, 1, 2, 3]
    assert list(gene_columns(adata, ["a", "d"])) == [0, 3]
    assert list(gene_columns(adata, "c")) == [1]
    with pytest.raises(KeyError, match="'x'"):
        gene_columns(adata, ["a", "x"])
    with pytest.raises(ValueError, match="genes is empty"):
        gene_columns(adata, [])
