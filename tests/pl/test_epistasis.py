"""Tests of the heat map of epistasis by what it draws."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import scwhatif as wi


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> AnnData:
    """Pairs d-b and d-a were found, c has none."""
    adata = AnnData(np.zeros((1, 4), np.float32), var=pd.DataFrame(index=list("abcd")))
    values = np.zeros((4, 4), np.float32)
    values[1, 3] = values[3, 1] = 0.7
    values[0, 3] = values[3, 0] = 0.2
    adata.varp["epistasis"] = sparse.csr_matrix(values)
    pairs = pd.DataFrame({"gene_a": pd.Categorical(["d", "a"]), "gene_b": pd.Categorical(["b", "d"])})
    adata.uns["epistasis"] = {"params": {}, "pairs": pairs}
    return adata


def test_draws_the_genes_of_the_strongest_pairs(adata: AnnData):
    ax = wi.pl.epistasis(adata, show=False)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["d", "b", "a"]
    drawn = ax.collections[0].get_array()
    np.testing.assert_allclose(drawn.filled(0).reshape(3, 3), [[0, 0.7, 0.2], [0.7, 0, 0], [0.2, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn).reshape(3, 3), [[1, 0, 0], [0, 1, 1], [0, 1, 1]])
    assert [label.get_text() for label in wi.pl.epistasis(adata, n_top=2, show=False).get_yticklabels()] == ["d", "b"]


def test_draws_the_genes_asked_for_in_their_order(adata: AnnData):
    adata.varp["epistasis"] = adata.varp["epistasis"].toarray()
    _, (left, right) = plt.subplots(1, 2)
    ax = wi.pl.epistasis(adata, ["c", "b", "d"], ax=right, show=False)
    assert ax is right
    assert not left.collections
    assert [label.get_text() for label in ax.get_xticklabels()] == ["c", "b", "d"]


def test_bad_input(adata: AnnData):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.epistasis\(adata, model, key_added='other'\)"):
        wi.pl.epistasis(adata, key="other")
    with pytest.raises(KeyError, match=r"genes=\['x'\] are not in"):
        wi.pl.epistasis(adata, ["a", "x"])
    adata.uns["epistasis"]["pairs"] = adata.uns["epistasis"]["pairs"].iloc[:0]
    with pytest.raises(ValueError, match="lower min_cells"):
        wi.pl.epistasis(adata)
