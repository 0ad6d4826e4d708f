"""Tests that the tap gives what the first layer adds to the features, by the module's own inference."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scvi.module import VAE

from scwhatif.engine._covariate_tap import CovariateTap
from scwhatif.module import BetaLinearVAE

N_FEATURES, N_CELLS = 15, 8


@pytest.fixture
def fields() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "batch": rng.integers(3, size=(N_CELLS, 1)),
        "extra_categorical_covs": rng.integers(2, size=(N_CELLS, 1)),
        "extra_continuous_covs": rng.normal(size=(N_CELLS, 2)).astype(np.float32),
    }


def vae(**kwargs: Any) -> VAE:
    torch.manual_seed(0)
    return VAE(
        N_FEATURES,
        n_batch=3,
        n_cats_per_cov=[2],
        n_continuous_cov=2,
        n_hidden=6,
        n_latent=3,
        encode_covariates=True,
        **kwargs,
    )


def tapped(module: VAE, fields: dict[str, np.ndarray]) -> CovariateTap:
    layers = module.z_encoder.encoder.fc_layers[0]
    before = {module, module.z_encoder, module.z_encoder.encoder, *getattr(module, "embeddings_dict", {}).values()}
    return CovariateTap(module, layers[0], layers[1], before=before, n_features=N_FEATURES, fields=fields, n_cells=8)


def test_covariates_of_scvi(fields: dict[str, np.ndarray]):
    module = vae()
    found, columns = tapped(module, fields)(fields, N_CELLS)
    one_hot = [np.eye(3)[fields["batch"][:, 0]], np.eye(2)[fields["extra_categorical_covs"][:, 0]]]
    wanted = np.hstack([fields["extra_continuous_covs"], *one_hot])
    np.testing.assert_allclose(columns, wanted, rtol=1e-6)
    first = module.z_encoder.encoder.fc_layers[0][0]
    weight, bias = first.weight.detach().numpy(), first.bias.detach().numpy()
    np.testing.assert_allclose(found, wanted @ weight[:, N_FEATURES:].T + bias, atol=1e-6)


def test_embedded_batches(fields: dict[str, np.ndarray]):
    module = vae(batch_representation="embedding", batch_embedding_kwargs={"embedding_dim": 4})
    _, columns = tapped(module, fields)(fields, N_CELLS)
    embedding = module.get_embedding("batch").weight.detach().numpy()
    np.testing.assert_array_equal(columns[:, 2:6], embedding[fields["batch"][:, 0]])


@pytest.mark.parametrize("likelihood", ["nb", "normal"])
def test_additive_covariates(fields: dict[str, np.ndarray], likelihood: Any):
    torch.manual_seed(0)
    module = BetaLinearVAE(
        N_FEATURES, n_batch=3, n_cats_per_cov=[2], n_continuous_cov=2, n_hidden=6, gene_likelihood=likelihood
    )
    encoder = module.z_encoder
    with torch.no_grad():
        for parameter in encoder.covariates.parameters():
            parameter.normal_()
    before = {module, encoder, encoder.covariates, encoder.hidden}
    tap = CovariateTap(
        module, encoder.first, encoder.hidden[0], before=before, n_features=N_FEATURES, fields=fields, n_cells=N_CELLS
    )
    found, columns = tap(fields, N_CELLS)
    codes = [torch.as_tensor(fields[key]) for key in ("batch", "extra_categorical_covs")]
    wanted = encoder.first.bias + encoder.covariates(codes, torch.as_tensor(fields["extra_continuous_covs"]))
    torch.testing.assert_close(found, wanted)
    assert columns.shape == (N_CELLS, 0)


def test_what_does_not_run_is_left_behind(fields: dict[str, np.ndarray]):
    module = vae()
    tap = tapped(module, fields)
    wanted = tap(fields, N_CELLS)[0]
    dumped = pickle.dumps(tap)
    assert len(dumped) < len(pickle.dumps(module)) / 2
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    torch.testing.assert_close(pickle.loads(dumped)(fields, N_CELLS)[0], wanted)


def test_a_layer_that_is_not_passed_is_refused(fields: dict[str, np.ndarray]):
    module = vae()
    layers = module.l_encoder.encoder.fc_layers[0]
    everything = set(module.modules()) - {layers[0], layers[1]}
    with pytest.raises(RuntimeError, match="VAE no longer passes"):
        CovariateTap(
            module, layers[0], layers[1], before=everything, n_features=N_FEATURES, fields=fields, n_cells=N_CELLS
        )


def test_random_state_is_left_alone(fields: dict[str, np.ndarray]):
    tap = tapped(vae(), fields)
    state = torch.get_rng_state()
    tap(fields, N_CELLS)
    assert torch.equal(state, torch.get_rng_state())
