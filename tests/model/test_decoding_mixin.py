import numpy as np
import pandas as pd
import pytest
import torch

from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI

COVARIATES = {"chemistry": "v2", "age": 3.0}


def test_decode_equals_the_module(model):
    z = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    decoded = model.decode(z, library_size=1e4, batch="batch_1", covariates=COVARIATES)
    chemistry = list(model.get_state_registry("extra_categorical_covs")["mappings"]["chemistry"]).index("v2")
    with torch.inference_mode():
        expected = model.module.generative(
            torch.from_numpy(z),
            torch.full((7, 1), 1e4).log(),
            torch.ones(7, 1),
            cat_covs=torch.full((7, 1), chemistry),
            cont_covs=torch.full((7, 1), 3.0),
        )["px"].mean
    np.testing.assert_allclose(decoded, expected, rtol=1e-5)
    assert list(decoded.columns) == list(model.adata.var_names)


def test_decoding_posterior_means_reproduces_normalized_expression(model, adata):
    cells = np.flatnonzero((adata.obs["chemistry"] == "v2") & (adata.obs["age"] == 3.0))
    z = model.get_latent_representation(indices=cells)
    decoded = model.decode(z, batch="batch_0", covariates=COVARIATES)
    torch.manual_seed(0)
    sampled = model.get_normalized_expression(indices=cells, transform_batch="batch_0", n_samples=200)
    assert np.corrcoef(np.log(decoded).to_numpy().ravel(), np.log(sampled).to_numpy().ravel())[0, 1] > 0.999


def test_no_batch_means_the_average_over_batches(model):
    z = np.zeros(5)
    each = [model.decode(z, batch=b, covariates=COVARIATES) for b in ("batch_0", "batch_1")]
    pd.testing.assert_frame_equal(model.decode(z, covariates=COVARIATES), (each[0] + each[1]) / 2)
    pd.testing.assert_frame_equal(
        model.decode(z, batch=["batch_0", "batch_1"], covariates=COVARIATES), model.decode(z, covariates=COVARIATES)
    )


def test_library_size_scales_every_row(model):
    z = np.zeros((2, 5))
    one = model.decode(z, covariates=COVARIATES)
    scaled = model.decode(z, library_size=[10, 1000], covariates=COVARIATES)
    np.testing.assert_allclose(one.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(scaled, one * np.array([[10], [1000]]), rtol=1e-5)


def test_the_index_of_a_frame_is_kept(model):
    z = pd.DataFrame(np.zeros((2, 5)), index=["a", "b"])
    assert list(model.decode(z, covariates=COVARIATES).index) == ["a", "b"]


@pytest.mark.parametrize(
    ("z", "arguments", "error", "message"),
    [
        (np.zeros((2, 4)), {"covariates": COVARIATES}, ValueError, "n_latent=5"),
        (np.full((2, 5), np.nan), {"covariates": COVARIATES}, ValueError, "finite"),
        (np.zeros(5), {"covariates": COVARIATES, "library_size": 0}, ValueError, "above 0"),
        (np.zeros((3, 5)), {"covariates": COVARIATES, "library_size": [1, 2]}, ValueError, "one per row"),
        (np.zeros(5), {}, ValueError, "trained with covariates"),
        (np.zeros(5), {"covariates": {"chemistry": "v2"}}, ValueError, "'age'"),
        (np.zeros(5), {"covariates": {**COVARIATES, "sex": 1}}, KeyError, "not registered"),
        (np.zeros(5), {"covariates": {**COVARIATES, "chemistry": "v9"}}, KeyError, "it knows"),
        (np.zeros(5), {"covariates": COVARIATES, "batch": "batch_7"}, KeyError, "it knows"),
    ],
)
def test_bad_requests_name_the_remedy(model, z, arguments, error, message):
    with pytest.raises(error, match=message):
        model.decode(z, **arguments)


def test_a_model_without_batches_says_so():
    adata = simulate_factors(30, 20, 3, seed=0)
    BetaLinearSCVI.setup_anndata(adata)
    with pytest.raises(KeyError, match="without batch_key"):
        BetaLinearSCVI(adata, n_latent=2).decode(np.zeros(2), batch="batch_0")
