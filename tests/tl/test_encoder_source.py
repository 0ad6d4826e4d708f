"""Tests of opening a model's encoder, or saying why there is none to open."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scvi.model import SCVI

import scwhatif as wi
from scwhatif.tl._encoder_source import encoder_source


@pytest.fixture(scope="module")
def fitted():
    adata = wi.datasets.simulate_factors(60, 30, 3, seed=0)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_latent=3, n_hidden=8)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return adata, model


def test_gives_the_plan_and_the_data(fitted):
    adata, model = fitted
    source = encoder_source(adata, model)
    assert source.plan.kind == "row-update"
    assert (source.x != adata.X).nnz == 0
    assert set(source.fields) >= {"batch"}
    mean = source.plan.cells(sparse.csr_matrix(source.x), source.fields).mean.numpy()
    np.testing.assert_allclose(mean, model.get_latent_representation(), atol=1e-5)


def test_a_gene_without_weights_stands_next_to_the_smallest(fitted):
    adata, model = fitted
    source = encoder_source(adata, model)
    norm = source.plan.weight_norm
    np.testing.assert_allclose(source.log_weight, np.log(norm))
    source.plan.weight[3] = 0
    assert source.log_weight[3] == pytest.approx(np.log(np.delete(norm, 3).min()), abs=1e-6)


def test_what_cannot_be_opened(fitted):
    adata, model = fitted
    other = adata[:, ::-1].copy()
    with pytest.raises(ValueError, match="another order"):
        encoder_source(other, model)
    with pytest.raises(ValueError, match=r"lacks 10 of the 30 features"):
        encoder_source(adata[:, :20].copy(), model)
    fresh = adata.copy()
    SCVI.setup_anndata(fresh, batch_key="batch")
    untrained = SCVI(fresh, n_latent=3, n_hidden=8)
    with pytest.raises(ValueError, match="not been trained"):
        encoder_source(fresh, untrained)


def test_minified_data_say_how_to_get_the_counts_back(fitted):
    adata = fitted[0].copy()
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_latent=3, n_hidden=8)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = model.get_latent_representation(return_dist=True)
    full = adata.copy()
    model.minify_adata()
    for data in (model.adata, full):
        with pytest.raises(ValueError, match=r"minified.*SCVI\.load\(folder, adata=adata_with_counts\)"):
            encoder_source(data, model)
