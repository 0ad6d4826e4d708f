"""Tests of the encoder taken apart: it must equal the module's own, with every kind of first layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from scwhatif.engine import EncoderPlan
from scwhatif.module import BetaLinearVAE

N_FEATURES, N_CELLS = 40, 12
MODULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "covariates": {"n_batch": 3, "n_cats_per_cov": [2, 4], "n_continuous_cov": 2},
    "covariates not encoded": {"n_batch": 3, "n_cats_per_cov": [2], "encode_covariates": False},
    "two layers": {"n_layers": 2, "n_batch": 2, "decoder": "nonnegative"},
    "continuous": {"gene_likelihood": "normal"},
}


def build(name: str) -> BetaLinearVAE:
    torch.manual_seed(0)
    module = BetaLinearVAE(N_FEATURES, n_hidden=16, n_latent=5, **MODULES[name])
    with torch.no_grad():
        for parameter in module.z_encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if name == "continuous":
            module.input_mean.normal_(3)
            module.input_std.uniform_(0.1, 5)
    return module


def cells(module: BetaLinearVAE) -> tuple[np.ndarray, list[np.ndarray | None]]:
    rng = np.random.default_rng(0)
    x = rng.poisson(2, (N_CELLS, N_FEATURES)).astype(np.float32)
    if not module.is_count_model:
        x += rng.normal(size=x.shape).astype(np.float32)
    tables, slopes = module.covariates.tables, module.covariates.slopes
    codes = [rng.integers(len(table), size=(N_CELLS, 1)) for table in tables]
    continuous = None if slopes is None else rng.normal(size=(N_CELLS, len(slopes))).astype(np.float32)
    return x, [codes[0], np.hstack(codes[1:]) if codes[1:] else None, continuous]


def own_posterior(module: BetaLinearVAE, x: np.ndarray, covariates: list[np.ndarray | None]) -> tuple[Any, Any]:
    """Through the module's inference, as training and scvi-tools call it."""
    module.eval()
    tensors = [None if each is None else torch.as_tensor(each) for each in covariates]
    with torch.no_grad():
        qz = module.inference(torch.as_tensor(x), *tensors)["qz"]
    return qz.mean, qz.variance


def agree(found: tuple[Any, Any], wanted: tuple[Any, Any]) -> None:
    torch.testing.assert_close(found[0], wanted[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], wanted[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix])
def test_equals_the_module(name: str, storage: Any):
    module = build(name)
    plan = EncoderPlan.from_module(module)
    x, covariates = cells(module)
    h = plan.preactivation(storage(x), *covariates)
    agree(plan.posterior(h.clone()), own_posterior(module, x, covariates))

    rows, features = np.repeat(np.arange(N_CELLS), N_FEATURES), np.tile(np.arange(N_FEATURES), N_CELLS)
    edited = x[rows]
    after = np.where(features % 2, 0, 2.5 * edited[np.arange(len(rows)), features]).astype(np.float32)
    edited[np.arange(len(rows)), features] = after
    change = plan.input_change(x[rows, features], after, features)
    found = plan.encode_pairs(h, *(torch.as_tensor(each) for each in (rows, features, change)))
    agree(found, own_posterior(module, edited, [each if each is None else each[rows] for each in covariates]))


def test_no_change_is_exactly_nothing():
    module = build("two layers")
    plan = EncoderPlan.from_module(module)
    x, covariates = cells(module)
    h = plan.preactivation(x, *covariates)
    features = torch.arange(N_CELLS)
    same = plan.input_change(x[:, 0], x[:, 0], features.numpy())
    found, wanted = plan.encode_pairs(h, features, features, torch.as_tensor(same)), plan.posterior(h.clone())
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])


def test_the_bounds_of_the_variance_are_the_module_s():
    module = build("plain")
    with torch.no_grad():
        module.z_encoder.log_var.bias[:2] = torch.tensor([-100.0, 100.0])
    plan = EncoderPlan.from_module(module)
    x, covariates = cells(module)
    agree(plan.posterior(plan.preactivation(x, *covariates)), own_posterior(module, x, covariates))


def test_a_snapshot_without_side_effects():
    module = build("covariates").train()
    x, covariates = cells(module)
    state, generator = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    plan = EncoderPlan.from_module(module)
    assert module.training
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    wanted = own_posterior(module, x, covariates)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    agree(plan.posterior(plan.preactivation(x, *covariates)), wanted)


def test_weight_norm_is_per_unit_of_the_feature():
    module = build("continuous")
    norm = EncoderPlan.from_module(module).weight_norm
    wanted = torch.linalg.vector_norm(module.z_encoder.first.weight / module.input_std, dim=0)
    np.testing.assert_allclose(norm, wanted.detach().numpy(), rtol=1e-5)


def test_refuses_what_it_cannot_reproduce():
    with pytest.raises(TypeError, match="Linear; supported: BetaLinearVAE"):
        EncoderPlan.from_module(torch.nn.Linear(2, 2))
    module = build("plain")
    module.z_encoder.hidden.register_forward_hook(lambda _module, _args, output: output + 1e-3)
    with pytest.raises(RuntimeError, match="off its own encoder"):
        EncoderPlan.from_module(module)
    module = build("plain")
    with torch.no_grad():
        module.z_encoder.mean.bias[0] = torch.nan
    with pytest.raises(RuntimeError, match="weights finite"):
        EncoderPlan.from_module(module)


@pytest.mark.gpu
def test_equals_the_module_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    module = build("covariates").to("cuda")
    x, covariates = cells(module)
    plan = EncoderPlan.from_module(module)
    found = plan.posterior(plan.preactivation(sparse.csr_matrix(x), *covariates))
    agree(tuple(each.cpu() for each in found), own_posterior(module.cpu(), x, covariates))
