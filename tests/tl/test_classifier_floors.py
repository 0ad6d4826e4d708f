from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from scwhatif.tl import _classifier_floors
from scwhatif.tl._classifier_floors import check_floors, floor_features, gene_columns

ALL = ["majority", "library", "gene_sets", "integrality"]
COLUMNS = {"a": np.array([1, 4]), "b": np.array([4, 0, 7])}


@pytest.fixture
def counts() -> np.ndarray:
    x = np.random.default_rng(0).poisson(2.0, (12, 9)).astype(np.float32)
    x[:, 3] += 1
    x[[2, 5], 6] = 1.5
    return x


def naive(counts: np.ndarray) -> dict[str, np.ndarray]:
    totals = counts.sum(axis=1)
    logged = np.log1p(counts / totals[:, None] * np.median(totals))
    return {
        "library": np.log1p(totals)[:, None],
        "gene_sets": np.column_stack([logged[:, genes].mean(axis=1) for genes in COLUMNS.values()]),
        "integrality": (counts != counts.round()).any(axis=1)[:, None],
    }


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix])
@pytest.mark.parametrize("entries", [None, 20])
def test_features_equal_a_plain_computation(counts: np.ndarray, kind: type, entries: int | None, monkeypatch):
    if entries is not None:
        blocks = _classifier_floors.iter_blocks
        monkeypatch.setattr(_classifier_floors, "iter_blocks", lambda x: blocks(x, max_entries=entries))
    found = floor_features(kind(counts), ALL, COLUMNS, name="X")
    expected = naive(counts)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6)


def test_backed_data(counts: np.ndarray, tmp_path):
    ad.AnnData(sparse.csr_matrix(counts)).write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    found = floor_features(backed.X, ALL, COLUMNS, name="X")
    np.testing.assert_allclose(found["gene_sets"], naive(counts)["gene_sets"], rtol=1e-6)


def test_majority_needs_nothing():
    assert floor_features(None, ["majority"], {}, name="X") == {}


def test_a_cell_without_counts_has_no_expression(counts: np.ndarray):
    counts[0] = 0
    found = floor_features(counts, ALL, COLUMNS, name="X")
    assert found["library"][0] == 0
    assert (found["gene_sets"][0] == 0).all()
    assert np.isfinite(found["gene_sets"]).all()


def test_what_is_no_counts(counts: np.ndarray):
    with pytest.raises(ValueError, match=r"X holds fractional values in every cell.*floors="):
        floor_features(np.log1p(counts), ALL, COLUMNS, name="X")
    for kind in (np.asarray, sparse.csr_matrix):
        with pytest.raises(ValueError, match="X holds negative values"):
            floor_features(kind(counts - 1), ALL, COLUMNS, name="X")


def test_floors_are_put_in_order():
    assert check_floors(["integrality", "library", "library"], has_sets=False) == ["library", "integrality"]
    assert check_floors(ALL[::-1], has_sets=True) == ALL
    assert check_floors(ALL, has_sets=False) == ["majority", "library", "integrality"]
    for bad in ("library", ["pca"]):
        with pytest.raises(ValueError, match="floors="):
            check_floors(bad, has_sets=True)


def test_columns_of_sets():
    adata = ad.AnnData(np.ones((2, 4)))
    adata.var_names = list("abcd")
    found = gene_columns(adata, {"x": ["c", "a", "c"], "y": np.array(["d"])})
    assert {name: columns.tolist() for name, columns in found.items()} == {"x": [2, 0], "y": [3]}
    with pytest.raises(KeyError, match=r"gene_sets\['x'\] has 6 gene\(s\).*'p', 'q', 'r', 's', 't', …\. Take"):
        gene_columns(adata, {"x": [*"apqrstu"]})
