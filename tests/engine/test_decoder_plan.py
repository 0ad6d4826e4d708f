from __future__ import annotations

import numpy as np
import pytest
import torch
from scvi.module import LDVAE, VAE, VAEC
from torch import nn

from scwhatif.engine import DecoderPlan
from scwhatif.module import BetaLinearVAE

N_GENES, N_LATENT = 20, 3
FIELDS = {"batch": 0}


def vae(**arguments) -> VAE:
    torch.manual_seed(0)
    return VAE(N_GENES, n_batch=2, n_latent=N_LATENT, n_hidden=8, **arguments)


def beta(**arguments) -> BetaLinearVAE:
    torch.manual_seed(0)
    return BetaLinearVAE(N_GENES, n_batch=2, n_latent=N_LATENT, n_hidden=8, **arguments)


def codes(n: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, N_LATENT)).astype(np.float32))


@pytest.mark.parametrize(
    ("module", "log_link", "normalised"),
    [
        (vae(), True, True),
        (vae(gene_likelihood="poisson"), True, True),
        (vae(use_size_factor_key=True), True, False),
        (beta(), True, True),
        (beta(use_size_factor=True), True, False),
        (beta(gene_likelihood="normal"), False, False),
    ],
)
def test_the_library_scales_what_it_scales(module: nn.Module, log_link: bool, normalised: bool):
    plan = DecoderPlan.from_module(module, FIELDS)
    assert (plan.n_latent, plan.n_features) == (N_LATENT, N_GENES)
    assert (plan.log_link, plan.normalised, plan.simplex) == (log_link, normalised, False)
    with torch.no_grad():
        one = plan.mean(codes(), 1.0, {"batch": 1})
        many = plan.mean(codes(), np.arange(1.0, 6.0), {"batch": np.ones((5, 1))})
    factor = torch.arange(1.0, 6.0)[:, None] if log_link else 1.0
    torch.testing.assert_close(many, one * factor, rtol=1e-5, atol=0)
    if normalised:
        torch.testing.assert_close(one.sum(1), torch.ones(5))


def test_the_mean_leaves_zero_inflation_out():
    module = vae(gene_likelihood="zinb")
    plan = DecoderPlan.from_module(module, FIELDS)
    with torch.no_grad():
        px = module.generative(codes(), torch.zeros(5, 1), torch.ones(5, 1, dtype=torch.long))["px"]
        torch.testing.assert_close(plan.mean(codes(), 1.0, {"batch": 1}), px.mu)
        assert (px.mu > px.mean).all()


@pytest.mark.parametrize("module", [vae(), beta(), beta(gene_likelihood="normal")])
def test_gradients_are_finite_differences(module: nn.Module):
    plan = DecoderPlan.from_module(module, FIELDS)
    z = codes(1).requires_grad_()
    plan.predictor(z, 1.0, FIELDS)[0, 4].backward()
    step = 0.01
    with torch.no_grad():
        moved = [plan.predictor(z + sign * step * torch.eye(N_LATENT), 1.0, FIELDS)[:, 4] for sign in (1, -1)]
    torch.testing.assert_close(z.grad[0], (moved[0] - moved[1]) / (2 * step), rtol=0.02, atol=1e-3)


def test_the_predictor_of_a_linear_decoder_is_linear():
    module = beta()
    plan = DecoderPlan.from_module(module, FIELDS)
    z = codes()
    with torch.no_grad():
        change = plan.predictor(z, 1.0, FIELDS) - plan.predictor(torch.zeros_like(z), 1.0, FIELDS)
        expected = z @ module.effective_loadings().T
    torch.testing.assert_close(change - change.mean(1, keepdim=True), expected, rtol=0, atol=1e-5)


def test_later_training_is_seen_and_dropout_is_not():
    module = LDVAE(N_GENES, n_batch=2, n_latent=N_LATENT, n_hidden=8, use_observed_lib_size=True)
    plan = DecoderPlan.from_module(module, FIELDS)
    module.train()
    with torch.no_grad():
        before = plan.mean(codes(), 1.0, FIELDS)
        torch.testing.assert_close(plan.mean(codes(), 1.0, FIELDS), before)
        module.decoder.factor_regressor.fc_layers[0][0].weight.mul_(2)
        assert not torch.allclose(plan.mean(codes(), 1.0, FIELDS), before)


def test_codes_on_the_simplex():
    plan = DecoderPlan.from_module(vae(latent_distribution="ln"), FIELDS)
    assert plan.simplex


class OddLibrary(VAE):
    """Scales with the square of the library size."""

    def generative(self, z, library, batch_index, **other):
        return super().generative(z, 2 * library, batch_index, **other)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(2, 2), "no decoder of the scvi-tools kind"),
        (VAEC(N_GENES, n_batch=1, n_labels=2, n_latent=N_LATENT), "differently for each label"),
        (OddLibrary(N_GENES, n_batch=2, n_latent=N_LATENT), "neither follows the library size nor is free of it"),
    ],
)
def test_what_cannot_be_decoded_says_why(module: nn.Module, message: str):
    with pytest.raises(TypeError, match=message):
        DecoderPlan.from_module(module, FIELDS)
