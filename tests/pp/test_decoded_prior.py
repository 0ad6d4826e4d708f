"""What a model expects of counts, as its own decoder has it."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
import torch

import scwhatif as wi
from scwhatif._compat import seeded
from scwhatif.pp._decoded_prior import decoded_prior

FAST = {"max_epochs": 1, "enable_progress_bar": False, "accelerator": "cpu", "train_size": 1.0, "logger": False}


def fitted(name: str):
    adata = wi.datasets.simulate_factors(60, 30, 3)
    if name == "SCVI":
        scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
        model = scvi.model.SCVI(adata, n_latent=3, gene_likelihood="nb")
    elif name == "LinearSCVI":
        scvi.model.LinearSCVI.setup_anndata(adata)
        model = scvi.model.LinearSCVI(adata, n_latent=3, gene_likelihood="zinb")
    else:
        wi.model.BetaLinearSCVI.setup_anndata(adata)
        model = wi.model.BetaLinearSCVI(adata, n_latent=3, gene_likelihood=name, seed=0)
    model.train(**FAST)
    return adata, model


@pytest.mark.parametrize("name", ["nb", "zinb", "SCVI", "LinearSCVI"])
def test_equals_the_parameters_the_model_reports(name: str):
    adata, model = fitted(name)
    found = decoded_prior(model, adata, [4, 7], layer=None, seed=3)
    with seeded(3):
        expected = model.get_likelihood_parameters(batch_size=128)
    for column in (4, 7):
        np.testing.assert_allclose(found[column].mean, expected["mean"][:, column], rtol=1e-6)
        np.testing.assert_allclose(found[column].inverse_dispersion, expected["dispersions"][:, column], rtol=1e-6)
        if name in ("zinb", "LinearSCVI"):
            np.testing.assert_allclose(found[column].dropout, expected["dropout"][:, column], rtol=1e-6)
        else:
            assert found[column].dropout is None


def test_poisson_has_no_dispersion():
    adata, model = fitted("poisson")
    found = decoded_prior(model, adata, [2], layer=None, seed=3)[2]
    with seeded(3):
        expected = model.get_normalized_expression(library_size="latent", batch_size=128)
    np.testing.assert_allclose(found.mean, expected.iloc[:, 2], rtol=1e-6)
    assert np.isinf(found.inverse_dispersion)
    assert found.dropout is None


def test_nothing_is_left_behind():
    adata, model = fitted("SCVI")
    other = wi.datasets.simulate_factors(60, 30, 3)
    keys, columns = set(other.uns), list(other.obs)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    found = decoded_prior(model, other, [1], layer=None, seed=0)
    assert torch.rand(1) == expected
    assert set(other.uns) == keys
    assert list(other.obs) == columns
    np.testing.assert_array_equal(found[1].mean, decoded_prior(model, adata, [1, 2], layer=None, seed=0)[1].mean)
    assert (found[1].mean != decoded_prior(model, adata, [1], layer=None, seed=1)[1].mean).any()


def test_unusable_models():
    adata = wi.datasets.simulate_factors(60, 30, 3)
    wi.model.BetaLinearSCVI.setup_anndata(adata, layer="counts")
    model = wi.model.BetaLinearSCVI(adata, n_latent=3)
    with pytest.raises(ValueError, match="has not been trained"):
        decoded_prior(model, adata, [0], layer="counts", seed=0)
    model.is_trained_ = True
    with pytest.raises(ValueError, match="the model reads layer='counts', but layer=None is to be edited"):
        decoded_prior(model, adata, [0], layer=None, seed=0)
    with pytest.raises(ValueError, match="lacks 1 of the 30 features"):
        decoded_prior(model, adata[:, 1:].copy(), [0], layer="counts", seed=0)
    with pytest.raises(TypeError, match="model is str with gene_likelihood=None; up='posterior' needs"):
        decoded_prior("model", adata, [0], layer=None, seed=0)
    continuous = wi.datasets.simulate_factors(60, 30, 3, likelihood="normal")
    wi.model.BetaLinearSCVI.setup_anndata(continuous)
    with pytest.raises(TypeError, match="gene_likelihood='normal'"):
        decoded_prior(
            wi.model.BetaLinearSCVI(continuous, gene_likelihood="normal"), continuous, [0], layer=None, seed=0
        )
