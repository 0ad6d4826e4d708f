from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from anndata import read_h5ad

import scwhatif as wi


@pytest.fixture(scope="module")
def with_pca():
    adata = wi.datasets.simulate_factors(500, 120, 3, batch_effect=0.0, n_batches=1, seed=0)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=3)
    return adata


@pytest.mark.parametrize("method", ["varimax", "quartimax", "ica"])
@pytest.mark.parametrize("standardize", [True, False])
def test_scores_times_loadings_do_not_change(with_pca, method, standardize):
    adata = wi.tl.rotate(with_pca, method, standardize=standardize, copy=True)
    before = with_pca.obsm["X_pca"] @ with_pca.varm["PCs"].T
    np.testing.assert_allclose(adata.obsm["rotated"] @ adata.varm["rotated"].T, before, atol=1e-5)
    rotation = adata.uns["rotated"]["rotation"]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-8)
    share = adata.uns["rotated"]["explained_share"]
    assert (np.diff(share) <= 0).all()
    assert share.sum() == pytest.approx(1)
    assert ((adata.varm["rotated"] ** 3).sum(0) >= 0).all()
    assert "rotated" not in with_pca.obsm


def test_planted_sparse_loadings_are_found(with_pca):
    adata = wi.tl.rotate(with_pca, copy=True)
    planted = np.asarray(with_pca.varm["true_loadings"])
    matched = {
        name: np.abs(np.corrcoef(loadings.T, planted.T)[:3, 3:]).max(axis=0).mean()
        for name, loadings in [("PCA", with_pca.varm["PCs"]), ("rotated", adata.varm["rotated"])]
    }
    assert matched["rotated"] > max(matched["PCA"], 0.8)


def test_standardised_scores_stay_uncorrelated(with_pca):
    adata = wi.tl.rotate(with_pca, copy=True)
    np.testing.assert_allclose(np.cov(adata.obsm["rotated"].T, bias=True), np.eye(3), atol=1e-5)


def test_a_dead_dimension_stays_dead(with_pca):
    adata = with_pca.copy()
    adata.obsm["X_pca"][:, 1] = 0
    wi.tl.rotate(adata)
    assert np.isfinite(adata.obsm["rotated"]).all()
    assert (adata.obsm["rotated"].var(axis=0) < 1e-12).sum() == 1


def test_result_survives_a_file(with_pca, tmp_path):
    adata = wi.tl.rotate(with_pca, key_added="simple", copy=True)
    adata.write_h5ad(tmp_path / "a.h5ad")
    read = read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(read.obsm["simple"], adata.obsm["simple"])
    assert read.uns["simple"]["params"]["method"] == "varimax"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"use_rep": "X_nmf"}, KeyError, "X_nmf"),
        ({"loadings": "W"}, KeyError, "varm holds"),
        ({"method": "promax"}, ValueError, "not one of"),
        ({"loadings": "true_batch_effect"}, ValueError, "same model"),
    ],
)
def test_bad_requests_name_the_remedy(with_pca, arguments, error, message):
    with pytest.raises(error, match=message):
        wi.tl.rotate(with_pca, **arguments)
