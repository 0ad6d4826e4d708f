from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scvi
import torch
from anndata import AnnData
from mudata import MuData

from scwhatif._compat import seeded
from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI
from scwhatif.model._decoder import Decoder

BATCH = {"batch_key": "batch"}
COVARIATES = {**BATCH, "categorical_covariate_keys": ["chemistry"], "continuous_covariate_keys": ["age"]}
SIZE_FACTOR = {**BATCH, "size_factor_key": "size"}
PROTEIN = {**BATCH, "protein_expression_obsm_key": "protein"}
LABELS = {**BATCH, "labels_key": "cell_type"}


def fitted(model_class: Any, setup: dict[str, Any], **arguments: Any) -> Any:
    """A model after one epoch, so that batch norm has seen data."""
    adata = simulate_factors(60, 30, 3, seed=0)
    rng = np.random.default_rng(0)
    adata.obs["chemistry"] = ["v2" if i % 3 else "v3" for i in range(adata.n_obs)]
    adata.obs["age"] = rng.normal(size=adata.n_obs)
    adata.obs["size"] = rng.uniform(0.5, 2.0, size=adata.n_obs)
    adata.obsm["protein"] = rng.poisson(5.0, size=(adata.n_obs, 4)).astype(np.float32)
    model_class.setup_anndata(adata, **setup)
    with seeded(0):
        model = model_class(adata, n_latent=3, n_hidden=8, **arguments)
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model


def at_posterior_means(model: Any, z: np.ndarray) -> None:
    """Make the model's own readouts use these codes instead of drawing some."""
    inference, done = model.module.inference, 0

    def fixed(*args: Any, **kwargs: Any) -> dict[str, Any]:
        nonlocal done
        outputs = inference(*args, **kwargs)
        n = len(outputs["z"])
        outputs["z"] = torch.as_tensor(z[done : done + n])
        done += n
        return outputs

    model.module.inference = fixed


@pytest.mark.parametrize(
    ("model_class", "setup", "arguments"),
    [
        (scvi.model.SCVI, BATCH, {}),
        (scvi.model.SCVI, COVARIATES, {"n_layers": 2}),
        (scvi.model.SCVI, LABELS, {"gene_likelihood": "nb", "dispersion": "gene-label"}),
        (scvi.model.SCVI, BATCH, {"gene_likelihood": "poisson", "dispersion": "gene-batch"}),
        (scvi.model.SCVI, BATCH, {"gene_likelihood": "normal"}),
        (scvi.model.SCVI, SIZE_FACTOR, {}),
        (scvi.model.SCVI, BATCH, {"use_observed_lib_size": False}),
        (scvi.model.SCVI, COVARIATES, {"batch_representation": "embedding"}),
        (scvi.model.SCVI, BATCH, {"latent_distribution": "ln"}),
        (scvi.model.SCANVI, {**LABELS, "unlabeled_category": "none"}, {}),
        (scvi.model.LinearSCVI, BATCH, {}),
        (scvi.model.LinearSCVI, {}, {}),
        (scvi.model.TOTALVI, PROTEIN, {}),
        (scvi.model.TOTALVI, {**PROTEIN, **SIZE_FACTOR}, {}),
        (BetaLinearSCVI, COVARIATES, {}),
        (BetaLinearSCVI, SIZE_FACTOR, {}),
    ],
)
def test_equals_the_models_own_readout(model_class: Any, setup: dict[str, Any], arguments: dict[str, Any]):
    model = fitted(model_class, setup, **arguments)
    decoder = Decoder.from_model(model)
    assert list(decoder.features) == list(model.adata.var_names)
    z = model.get_latent_representation()
    at_posterior_means(model, z)
    batch = "batch_1" if setup else None
    expected = model.get_normalized_expression(transform_batch=batch, library_size=100, n_samples=1)
    if model_class is scvi.model.TOTALVI:
        expected = expected[0]
    cells = [0, 7, 31]
    for cell in cells:
        age = model.adata.obs["age"].iloc[cell]
        covariates = {"chemistry": model.adata.obs["chemistry"].iloc[cell], "age": age} if setup is COVARIATES else {}
        decoded = decoder.decode(z[cell], library_size=100, batch=batch, covariates=covariates)
        np.testing.assert_allclose(decoded.iloc[0], expected.iloc[cell], rtol=1e-5)


@pytest.mark.optional
@pytest.mark.parametrize("likelihood", ["pnb", "nb", "normal"])
def test_drvi(likelihood: str):
    drvi = pytest.importorskip("drvi")
    adata = simulate_factors(60, 30, 3, seed=0)
    drvi.model.DRVI.setup_anndata(adata, batch_key="batch", is_count_data=likelihood != "normal")
    model = drvi.model.DRVI(adata, n_latent=4, gene_likelihood=likelihood)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    z = model.get_latent_representation()
    expected = model.decode_latent_samples(
        z, lib=np.full(60, 100.0, np.float32), batch_values=np.ones(60, int), return_in_log_space=False
    )
    decoder = Decoder.from_model(model)
    np.testing.assert_allclose(decoder.decode(z, library_size=100, batch="batch_1"), expected, rtol=1e-5)
    assert decoder.plan.log_link == (likelihood != "normal")


def test_codes_that_are_no_shares_are_refused():
    decoder = Decoder.from_model(fitted(scvi.model.SCVI, BATCH, latent_distribution="ln"))
    decoder.decode([0.2, 0.3, 0.5])
    for z in ([0.2, 0.3, 0.6], [1.5, -0.5, 0.0]):
        with pytest.raises(ValueError, match="shares that add up to 1"):
            decoder.decode(z)


def test_what_is_no_model_or_has_no_such_decoder():
    with pytest.raises(TypeError, match="not a model of the scvi-tools kind"):
        Decoder.from_model(object())
    with pytest.raises(TypeError, match="PEAKVAE cannot be decoded from a latent code alone"):
        Decoder.from_model(fitted(scvi.model.PEAKVI, BATCH))


def test_the_genes_of_a_model_of_mudata():
    rna = simulate_factors(40, 20, 3, seed=0)
    protein = AnnData(np.random.default_rng(0).poisson(5.0, size=(40, 4)).astype(np.float32), obs=rna.obs[[]])
    mdata = MuData({"rna": AnnData(rna.X, obs=rna.obs[[]], var=rna.var[[]]), "protein": protein})
    scvi.model.TOTALVI.setup_mudata(
        mdata, rna_layer=None, protein_layer=None, modalities={"rna_layer": "rna", "protein_layer": "protein"}
    )
    decoder = Decoder.from_model(scvi.model.TOTALVI(mdata, n_latent=3, n_hidden=8))
    assert list(decoder.features) == list(rna.var_names)
    np.testing.assert_allclose(decoder.decode(np.zeros(3)).sum(axis=1), 1, rtol=1e-5)


def test_fields_for_every_batch():
    decoder = Decoder.from_model(fitted(scvi.model.SCVI, COVARIATES))
    fields = decoder.fields(None, {"chemistry": "v3", "age": 0.5})
    assert [each["batch"] for each in fields] == list(range(len(decoder.batches)))
    np.testing.assert_array_equal(fields[0]["extra_categorical_covs"], [[1]])
    np.testing.assert_array_equal(fields[0]["extra_continuous_covs"], [[0.5]])
    assert len(decoder.fields("batch_1", {"chemistry": "v3", "age": 0.5})) == 1
