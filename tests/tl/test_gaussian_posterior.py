import anndata as ad
import numpy as np
import pytest
import scvi

import scwhatif as wi
from scwhatif._compat import seeded
from scwhatif.tl._gaussian_posterior import factorised_posterior, gaussian_posterior

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


def test_a_rotated_posterior_is_factorised_in_the_axes_of_training(adata):
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    model.train(60, batch_size=20, seed=0, **SILENT)
    before = factorised_posterior(model, adata)
    model.rotate("varimax")
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    mean, var, rotation = factorised_posterior(model, adata)
    np.testing.assert_array_equal(mean, before.mean)
    np.testing.assert_array_equal(var, before.var)
    assert all((weights[name] == value).all() for name, value in model.module.state_dict().items())
    reported = gaussian_posterior(model, adata)
    np.testing.assert_allclose(mean @ rotation, reported[0], atol=1e-5)
    np.testing.assert_allclose(var @ rotation**2, reported[1], atol=1e-5)
    # draws have the covariance that follows, off the diagonal too
    copies = ad.AnnData(adata.X[np.full(40_000, 3)], var=adata.var)
    with seeded(0):
        draws = model.get_latent_representation(copies, give_mean=False)
    expected = rotation.T @ np.diag(var[3]) @ rotation
    assert np.abs(np.triu(expected, 1)).max() > 0.04
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.02)


def test_where_there_is_no_rotation_it_is_the_identity(adata):
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=3)
    model.train(1, **SILENT)
    mean, var, rotation = factorised_posterior(model, adata)
    np.testing.assert_array_equal(rotation, np.eye(3))
    for found, expected in zip((mean, var), gaussian_posterior(model, adata), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_minified_data_keep_marginals_only(adata):
    cells = adata.copy()
    wi.model.BetaLinearSCVI.setup_anndata(cells)
    model = wi.model.BetaLinearSCVI(cells, n_latent=3, seed=0)
    model.train(2, seed=0, **SILENT)
    model.rotate("varimax")
    expected = gaussian_posterior(model, cells)
    mean, var = model.get_latent_representation(return_dist=True)
    cells.obsm["qzm"], cells.obsm["qzv"] = mean, var
    model.minify_adata(use_latent_qzm_key="qzm", use_latent_qzv_key="qzv")
    found = factorised_posterior(model, model.adata)
    np.testing.assert_array_equal(found.rotation, np.eye(3))
    np.testing.assert_allclose(found.mean, expected[0], rtol=1e-6)
    np.testing.assert_allclose(found.var, expected[1], rtol=1e-6)


def test_the_model_does_not_keep_the_data(adata):
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    model.train(1, seed=0, **SILENT)
    known = len(model._per_instance_manager_store[model.id])
    for _ in range(3):
        new = adata.copy()
        gaussian_posterior(model, new)
        wi.tl.perturb(new, model, f"{adata.var_names[0]}:ko", progress=False)
        wi.tl.latent_usage(new, model)
    assert len(model._per_instance_manager_store[model.id]) == known
