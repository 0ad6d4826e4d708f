"""Tests of what is recognised, what is refused, and what falls back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scvi.module import VAE
from torch import nn

from scwhatif.engine import encoder_plan
from scwhatif.module import BetaLinearVAE

N_CELLS, N_FEATURES = 10, 25


class Renamed(nn.Module):
    """An encoder like those of scvi-tools, in a module of which only the shape is known."""

    def __init__(self, twist: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.whatever = VAE(N_FEATURES, n_hidden=8, n_latent=3).z_encoder
        self.twist = twist

    def _get_inference_input(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"x": tensors["X"]}

    def inference(self, x: torch.Tensor) -> dict[str, Any]:
        x = torch.log1p(x)
        qz, z = self.whatever(x if self.twist is None else self.twist(x))
        return {"qzm": qz.loc, "qzv": qz.scale**2, "z": z}


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).poisson(2, (N_CELLS, N_FEATURES)).astype(np.float32)


@pytest.fixture
def fields() -> dict[str, np.ndarray]:
    return {"batch": np.zeros((N_CELLS, 1), np.int64)}


def beta_linear() -> BetaLinearVAE:
    torch.manual_seed(0)
    return BetaLinearVAE(N_FEATURES, n_hidden=8, n_latent=3)


def test_known_by_what_it_does_not_by_its_name(x: np.ndarray):
    assert encoder_plan(Renamed(), x, {}).kind == "row-update"


@pytest.mark.parametrize(
    "twist",
    [
        lambda x: x.square(),
        lambda x: x.flip(1),
        lambda x: x + 1e-3 * x.sum(1, keepdim=True),
        lambda x: nn.functional.normalize(x),
    ],
)
def test_an_unknown_transform_falls_back(twist: Any, x: np.ndarray):
    assert encoder_plan(Renamed(twist), x, {}).kind == "general"


@pytest.mark.parametrize("part", ["hidden", "mean", "log_var"])
def test_what_looks_alike_but_acts_otherwise_falls_back(part: str, x: np.ndarray, fields: dict[str, np.ndarray]):
    module = beta_linear()
    getattr(module.z_encoder, part).register_forward_hook(lambda _module, _args, output: output + 1e-2)
    assert encoder_plan(module, x, fields).kind == "general"


def test_another_activation_of_the_mean_falls_back(x: np.ndarray):
    module = Renamed()
    module.whatever.mean_activation = nn.ReLU()
    assert encoder_plan(module, x, {}).kind == "general"


def test_a_snapshot_without_side_effects(x: np.ndarray, fields: dict[str, np.ndarray]):
    module = beta_linear().train()
    before, generator = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    torch.set_float32_matmul_precision("high")
    try:
        plan = encoder_plan(module, x, fields)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert module.training
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not any(part._forward_pre_hooks for part in module.modules())
    wanted = plan.cells(x, fields).mean
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert torch.equal(plan.cells(x, fields).mean, wanted)


def test_the_bounds_of_the_variance_are_the_module_s(x: np.ndarray, fields: dict[str, np.ndarray]):
    module = beta_linear()
    with torch.no_grad():
        module.z_encoder.log_var.bias[:2] = torch.tensor([-100.0, 100.0])
    plan = encoder_plan(module, x, fields)
    np.testing.assert_allclose(plan.cells(x, fields).var[:, :2].log(), [[-12, 8]] * N_CELLS, rtol=1e-6)
    np.testing.assert_allclose([plan.fused.lower, plan.fused.upper], [-12, 8], rtol=1e-6)


def test_modules_without_a_gaussian_posterior_are_refused(x: np.ndarray):
    with pytest.raises(TypeError, match="Linear is not a module of the scvi-tools kind"):
        encoder_plan(nn.Linear(N_FEATURES, 2), x, {})
    module = Renamed()
    module.inference = lambda x: {"z": x}
    with pytest.raises(TypeError, match="Renamed has no Gaussian posterior: its inference returns z"):
        encoder_plan(module, x, {})


def test_broken_weights_are_refused(x: np.ndarray, fields: dict[str, np.ndarray]):
    module = beta_linear()
    with torch.no_grad():
        module.z_encoder.mean.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"BetaLinearVAE are NaN or infinite, in z_encoder\.mean\.bias"):
        encoder_plan(module, x, fields)


def test_minified_data_and_no_data_are_refused(x: np.ndarray, fields: dict[str, np.ndarray]):
    module = beta_linear()
    with pytest.raises(ValueError, match="no cell"):
        encoder_plan(module, x[:0], {key: values[:0] for key, values in fields.items()})
    module.minified_data_type = "latent_posterior_parameters"
    with pytest.raises(ValueError, match="minified"):
        encoder_plan(module, x, fields)
