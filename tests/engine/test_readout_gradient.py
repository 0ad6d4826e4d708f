"""Tests of derivatives and path integrals against finite differences, captum and the fundamental theorem."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from scvi.module import TOTALVAE, VAE

import scwhatif._compat as compat
from scwhatif._compat import infer
from scwhatif.engine import DistanceReadout, LinearReadout, encoder_plan
from scwhatif.engine._readout_gradient import (
    Attributions,
    ReadoutGradient,
    _FirstLayerGradient,
    _ModuleGradient,
    readout_gradient,
)
from scwhatif.module import BetaLinearVAE

N_CELLS, N_FEATURES, N_LATENT = 12, 20, 4
MODULES: dict[str, Any] = {
    "layer norm": lambda: BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=N_LATENT, n_layers=2),
    "continuous": lambda: BetaLinearVAE(
        N_FEATURES, n_batch=2, n_hidden=16, n_latent=N_LATENT, gene_likelihood="normal"
    ),
    "batch norm": lambda: VAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=N_LATENT),
    "deep covariates": lambda: VAE(
        N_FEATURES, n_batch=2, n_hidden=16, n_latent=N_LATENT, n_layers=2, encode_covariates=True
    ),
    "divides by the mean": lambda: TOTALVAE(N_FEATURES, 3, n_batch=2, n_hidden=16, n_latent=N_LATENT, n_panel=0),
}
LINEAR = LinearReadout(np.array([1.0, -0.5, 2.0, 0.3]), 0.7)


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    module = MODULES[name]()
    with torch.no_grad():
        for part, values in module.named_parameters():
            if "encoder" in part:
                values.add_(0.2 * torch.randn_like(values))
        if name == "continuous":
            module.input_mean.normal_(3)
            module.input_std.uniform_(0.5, 2)
        if name == "layer norm":
            module.rotation.copy_(torch.linalg.qr(torch.randn(N_LATENT, N_LATENT))[0])
    return module


def make(name: str, readout: Any = LINEAR) -> tuple[ReadoutGradient, Any, np.ndarray, dict[str, np.ndarray]]:
    module = build(name)
    rng = np.random.default_rng(0)
    x = rng.poisson(2, (N_CELLS, N_FEATURES)).astype(np.float32)
    fields = {"batch": rng.integers(2, size=(N_CELLS, 1)), "proteins": rng.poisson(4, (N_CELLS, 3)).astype(np.float32)}
    return readout_gradient(encoder_plan(module, x, fields), module, readout), module, x, fields


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("kind", ["linear", "distance"])
def test_jacobian_is_the_finite_difference(name: str, kind: str):
    readout = LINEAR if kind == "linear" else DistanceReadout(np.full(N_LATENT, 0.2), np.diag([1.0, 2.0, 0.5, 1.0]))
    gradient, module, x, fields = make(name, readout)
    assert isinstance(gradient, _ModuleGradient if name == "divides by the mean" else _FirstLayerGradient)
    found = gradient.jacobian(x, fields)
    # float32 modules: in float64 so that the difference quotient is exact enough
    module = module.double()
    u = gradient.scaled(x).double().numpy()
    for feature in range(0, N_FEATURES, 7):
        step = np.zeros(N_FEATURES)
        step[feature] = 1e-5
        up, down = (exact_value(module, readout, u + sign * step, fields, log1p=gradient.log1p) for sign in (1, -1))
        np.testing.assert_allclose(found[:, feature], (up - down) / 2e-5, atol=1e-4)


def exact_value(module: Any, readout: Any, u: np.ndarray, fields: Any, *, log1p: bool) -> np.ndarray:
    """Readout by the module itself, from features on the encoder's scale, in float64 throughout."""

    def as_double(_: str, values: Any) -> Any:
        tensor = torch.as_tensor(values)
        return tensor.double() if tensor.is_floating_point() else tensor

    x = torch.from_numpy(np.expm1(u) if log1p else u)
    with patch.object(compat, "_field", as_double):
        mean = compat.infer(module, {"X": x, **fields})[0]
    return readout(mean).numpy()


@pytest.mark.parametrize("name", MODULES)
def test_shares_add_up(name: str):
    gradient, module, x, fields = make(name)
    baselines = np.concatenate([np.zeros((1, N_FEATURES), np.float32), x[:1]])
    errors = []
    for n_steps in (8, 128):
        found = gradient.path(x, fields, baselines, n_steps=n_steps)
        errors.append(completeness(found))
    assert errors[1] < min(0.02, errors[0] / 4)
    # what they add up to is the difference of readouts by the module itself
    scaled = gradient.scaled(x).numpy()
    before = value_of(gradient, module, scaled, fields)
    others = [
        value_of(gradient, module, np.repeat(gradient.scaled(each[None]).numpy(), N_CELLS, 0), fields)
        for each in baselines
    ]
    np.testing.assert_allclose(found.difference, before - np.mean(others, axis=0), atol=1e-4)


def completeness(found: Attributions) -> float:
    lacking = found.values.sum(axis=1) - found.difference
    return float(np.sqrt(np.square(lacking).mean() / np.square(found.difference).mean()))


def test_shares_add_up_to_a_thousandth():
    gradient, _, x, fields = make("batch norm")
    assert completeness(gradient.path(x, fields, np.zeros((1, N_FEATURES), np.float32), n_steps=2048)) < 1e-3


def value_of(gradient: ReadoutGradient, module: Any, u: np.ndarray, fields: dict[str, np.ndarray]) -> np.ndarray:
    x = np.expm1(u) if gradient.log1p else u
    mean = infer(module, {"X": x.astype(np.float32), **fields})[0]
    return LINEAR(mean.double()).numpy()


@pytest.mark.parametrize("name", ["layer norm", "batch norm", "divides by the mean"])
def test_equals_captum(name: str):
    attr = pytest.importorskip("captum.attr")
    gradient, module, x, fields = make(name)

    def forward(u: torch.Tensor) -> torch.Tensor:
        # captum stacks the steps of all cells
        repeated = {key: np.tile(each, (len(u) // N_CELLS, 1)) for key, each in fields.items()}
        return LINEAR(infer(module, {"X": u.expm1(), **repeated}, differentiable=True)[0])

    u = gradient.scaled(x)
    wanted = attr.IntegratedGradients(forward, multiply_by_inputs=True).attribute(
        u, baselines=torch.zeros_like(u), n_steps=40, method="riemann_middle"
    )
    found = gradient.path(x, fields, np.zeros((1, N_FEATURES), np.float32), n_steps=40)
    np.testing.assert_allclose(found.values, wanted.detach().numpy(), atol=2e-4)


def test_a_baseline_that_is_the_cell_explains_nothing():
    gradient, _, x, fields = make("batch norm")
    same = {key: each[:1] for key, each in fields.items()}
    found = gradient.path(x[:1], same, x[:1], n_steps=4)
    assert not found.values.any()
    assert not found.difference.any()


def test_leaves_the_module_alone():
    gradient, module, x, fields = make("divides by the mean")
    module.train()
    before = {key: each.clone() for key, each in module.state_dict().items()}
    gradient.jacobian(x, fields)
    assert module.training
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all((before[key] == each).all() for key, each in module.state_dict().items())
