from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scwhatif as wi
from scwhatif.tl import _fit_cache
from scwhatif.tl._beta_fit import BetaFit, BetaFitResult
from scwhatif.tl._fit_cache import cache_path, cached_fit, data_hash, read_result

if TYPE_CHECKING:
    from pathlib import Path

FIT = BetaFit(wi.model.BetaLinearSCVI, {"beta": 0.5, "n_latent": 2}, {}, {"max_epochs": 1}, 3)


def cells() -> ad.AnnData:
    x = np.random.default_rng(0).poisson(1, (6, 4)).astype(np.float32)
    adata = ad.AnnData(x, obs=pd.DataFrame({"batch": pd.Categorical(list("aabbab"))}, index=list("uvwxyz")))
    adata.layers["raw"] = sparse.csr_matrix(x)
    return adata


def test_hash_sees_every_part_of_the_data():
    def changed(change: Any) -> str:
        adata = cells()
        change(adata)
        return data_hash(adata)

    def entry(adata: ad.AnnData) -> None:
        adata.X[2, 1] += 1

    def layer(adata: ad.AnnData) -> None:
        adata.layers["raw"].data[0] += 1

    def label(adata: ad.AnnData) -> None:
        adata.obs.loc["u", "batch"] = "b"

    def feature(adata: ad.AnnData) -> None:
        adata.var_names = list("pqrs")

    def precision(adata: ad.AnnData) -> None:
        adata.X = adata.X.astype(np.float64)

    hashes = [changed(change) for change in (entry, layer, label, feature, precision)]
    assert data_hash(cells()) == data_hash(cells())
    assert len({data_hash(cells()), *hashes}) == 6


def test_path_depends_on_all_that_shapes_a_fit(tmp_path: Path):
    common = {"train_kwargs": {"max_epochs": 1}, "grid": np.array([1, 2])}
    path = cache_path(tmp_path, FIT, common)
    assert path.name.startswith("beta_0.5_seed_3_")
    assert path == cache_path(str(tmp_path), replace(FIT), dict(reversed(common.items())))
    others = [
        cache_path(tmp_path, replace(FIT, seed=4), common),
        cache_path(tmp_path, replace(FIT, model={"beta": 0.5, "n_latent": 3}), common),
        cache_path(tmp_path, replace(FIT, model_class=wi.model.BetaLinearSCVI.__mro__[1]), common),
        cache_path(tmp_path, FIT, common | {"grid": np.array([1, 3])}),
    ]
    assert len({path, *others}) == 5


def test_what_cannot_be_named(tmp_path: Path):
    with pytest.raises(TypeError, match="object"):
        cache_path(tmp_path, replace(FIT, model={"beta": 1.0, "encoder": object()}), {})


def test_result_is_read_back_and_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    result = BetaFitResult("healthy", {"elbo": -1.25, "total_correlation": np.inf}, np.ones((4, 2), np.float32))
    calls = []

    def run_fit(data: ad.AnnData, fit: BetaFit) -> BetaFitResult:
        calls.append(fit)
        return result

    monkeypatch.setattr(_fit_cache, "run_fit", run_fit)
    path = tmp_path / "fit.npz"
    assert cached_fit(cells(), FIT, None) is result
    assert cached_fit(cells(), FIT, path) is result
    back = cached_fit(cells(), FIT, path)
    assert len(calls) == 2
    assert (back.verdict, back.scores) == (result.verdict, result.scores)
    np.testing.assert_array_equal(back.factors, result.factors)
    assert [each.name for each in tmp_path.iterdir()] == ["fit.npz"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def savez(file: Any, **_: Any) -> None:
        file.write(b"half")
        msg = "disk full"
        raise OSError(msg)

    monkeypatch.setattr(_fit_cache, "run_fit", lambda data, fit: BetaFitResult("diverged"))
    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(OSError, match="disk full"):
        cached_fit(cells(), FIT, tmp_path / "fit.npz")
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path: Path):
    path = tmp_path / "fit.npz"
    np.savez(path, other=1)
    with pytest.raises(ValueError, match=r"fit\.npz cannot be read.*delete it"):
        read_result(path)
    for content in (b"", b"PK\x03\x04broken", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="delete it"):
            read_result(path)
