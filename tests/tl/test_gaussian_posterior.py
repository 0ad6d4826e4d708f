import numpy as np
import pytest
import scvi

import scwhatif as wi
from scwhatif.tl._gaussian_posterior import gaussian_posterior

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def adata():
    return wi.datasets.simulate_factors(60, 30, 3, seed=0)


def test_mean_and_variance_are_the_models(adata):
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    with pytest.raises(ValueError, match="has not been trained"):
        gaussian_posterior(model, adata)
    model.train(1, seed=0, **SILENT)
    mean, var = gaussian_posterior(model, adata)
    np.testing.assert_allclose(mean, model.get_latent_representation(), rtol=1e-6)
    assert mean.dtype == var.dtype == np.float64
    assert (var > 0).all()
    with pytest.raises(ValueError, match="the new cells"):
        gaussian_posterior(model, adata[:, :20].copy(), "the new cells")


def test_models_without_a_gaussian_posterior_are_refused(adata):
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=3, latent_distribution="ln")
    model.train(1, **SILENT)
    with pytest.raises(ValueError, match="latent_distribution='normal'"):
        gaussian_posterior(model, adata)
    with pytest.raises(TypeError, match="object does not give"):
        gaussian_posterior(object(), adata)
