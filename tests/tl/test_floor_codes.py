from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.decomposition import PCA, FactorAnalysis

from scwhatif.tl import _floor_codes
from scwhatif.tl._floor_codes import floor_codes, log_normalised


@pytest.fixture
def data() -> np.ndarray:
    """Two heavy-tailed sources mixed into twelve genes."""
    rng = np.random.default_rng(0)
    return rng.laplace(size=(400, 2)) @ rng.normal(size=(2, 12)) + 0.05 * rng.normal(size=(400, 12))


def test_normalises_counts_only():
    counts = np.array([[1.0, 3.0], [0.0, 2.0], [4.0, 4.0]])
    expected = np.log1p(counts * (4 / counts.sum(axis=1))[:, None])
    for given in (counts, sparse.csc_matrix(counts), pd.DataFrame(counts)):
        found, how = log_normalised(given)
        assert how == "log-normalised"
        np.testing.assert_allclose(found.toarray() if sparse.issparse(found) else found, expected)
    found, how = log_normalised(counts - 0.5)
    assert how == "as is"
    np.testing.assert_array_equal(found, counts - 0.5)


def test_equal_those_of_sklearn(data: np.ndarray):
    found = floor_codes(sparse.csr_matrix(data), 3, ["pca", "fa", "gene"])
    assert list(found) == ["pca", "fa", "gene"]
    pca = PCA(3, svd_solver="full").fit_transform(data)
    np.testing.assert_allclose(np.abs(found["pca"]), np.abs(pca), atol=1e-8)
    np.testing.assert_allclose(found["fa"], FactorAnalysis(3, random_state=0).fit_transform(data), atol=1e-8)
    np.testing.assert_array_equal(found["gene"].toarray(), data)


def test_independent_components_find_the_sources(data: np.ndarray):
    rng = np.random.default_rng(0)
    sources = rng.laplace(size=(400, 2))
    found = floor_codes(data, 2, ["ica"])["ica"]
    r = np.abs(np.corrcoef(found.T, sources.T)[:2, 2:])
    assert sorted(r.argmax(axis=1)) == [0, 1]
    assert r.max(axis=1).min() > 0.98


def test_factor_analysis_of_many_cells_is_fitted_to_some(data: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_floor_codes, "_FA_CELLS", 200)
    monkeypatch.setattr(_floor_codes, "_BLOCK_ENTRIES", 12 * 70)
    some = floor_codes(data, 2, ["fa"])["fa"]
    assert some.shape == (400, 2)
    whole = FactorAnalysis(2, random_state=0).fit_transform(data)
    # the same space, whichever cells it was fitted to
    assert np.linalg.svd(np.linalg.qr(some)[0].T @ np.linalg.qr(whole)[0])[1].min() > 0.99


@pytest.mark.parametrize("shape", [(6, 3), (30, 2), (30, 1)])
def test_no_more_components_than_the_data_have(shape: tuple[int, int]):
    data = np.random.default_rng(0).normal(size=shape)
    found = floor_codes(data, 10, ["pca", "ica", "fa"])
    for codes in found.values():
        assert codes.shape[1] == max(1, min(shape) - 1)
        assert np.isfinite(codes).all()


def test_data_of_lower_rank():
    rng = np.random.default_rng(0)
    data = rng.laplace(size=(50, 2)) @ rng.normal(size=(2, 8))
    assert floor_codes(data, 5, ["ica"])["ica"].shape == (50, 2)
