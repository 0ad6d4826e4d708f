"""Tests of the rest of an encoder against the layers it is made from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from scwhatif.engine._encoder_tail import EncoderTail, fold_batch_norm

WIDTH, N_LATENT, N_COVARIATES, N = 12, 3, 2, 20


def batch_norm(width: int, *, affine: bool = True) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(width, eps=1e-3, affine=affine)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm.eval()


def heads(extra: int = 0, *, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    return nn.Linear(WIDTH + extra, N_LATENT, bias), nn.Linear(WIDTH + extra, N_LATENT)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def h() -> torch.Tensor:
    return torch.randn(N, WIDTH)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_affine(h: torch.Tensor, affine: bool):
    norm, rest = batch_norm(WIDTH, affine=affine), nn.ReLU()
    scale, shift, steps = fold_batch_norm([norm, rest])
    torch.testing.assert_close(h * scale + shift, norm(h))
    assert steps == [rest]
    assert fold_batch_norm([rest, norm]) == (None, None, [rest, norm])
    no_statistics = nn.BatchNorm1d(WIDTH, track_running_stats=False)
    assert fold_batch_norm([no_statistics]) == (None, None, [no_statistics])


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ELU()])
def test_later_layers(h: torch.Tensor, activation: nn.Module):
    mean, log_var = heads(bias=False)
    steps = [activation, nn.Linear(WIDTH, 5, bias=False), batch_norm(5), nn.LayerNorm(5), activation]
    steps += [nn.Linear(5, WIDTH), activation]
    tail = EncoderTail(steps, WIDTH, (mean, log_var), var_eps=1e-4)
    code = nn.Sequential(*steps)(h)
    found = tail(h.clone())
    torch.testing.assert_close(found[0], mean(code))
    torch.testing.assert_close(found[1], log_var(code).exp() + 1e-4)
    assert tail.n_latent == N_LATENT
    assert tail.fused(torch.randn(4, WIDTH)) is None


def test_covariates_enter_later_layers_and_heads(h: torch.Tensor):
    relu, second = nn.ReLU(), nn.Linear(WIDTH + N_COVARIATES, WIDTH)
    mean, log_var = heads(N_COVARIATES)
    norm = batch_norm(WIDTH)
    tail = EncoderTail([relu, second, norm, relu], WIDTH, (mean, log_var))
    covariates = torch.randn(N, N_COVARIATES)
    code = relu(norm(second(torch.cat([relu(h), covariates], 1))))
    code = torch.cat([code, covariates], 1)
    # columns before those that are repeated enter the first layer only
    injected = tail.inject(torch.cat([torch.randn(N, 4), covariates], 1))
    assert [each.shape[1] for each in injected] == [WIDTH, 2 * N_LATENT]
    found = tail(h.clone(), injected)
    torch.testing.assert_close(found[0], mean(code))
    torch.testing.assert_close(found[1], log_var(code).exp())


def test_bounds_of_the_variance(h: torch.Tensor):
    mean, log_var = heads()
    with torch.no_grad():
        log_var.bias[:2] = torch.tensor([-100.0, 100.0])
    var = EncoderTail([nn.ReLU()], WIDTH, (mean, log_var), bounds=(-2.0, 3.0))(h)[1]
    torch.testing.assert_close(var[:, :2], torch.tensor([-2.0, 3.0]).exp().expand(N, 2))


def test_another_activation_of_the_variance(h: torch.Tensor):
    mean, log_var = heads()
    tail = EncoderTail([nn.ReLU()], WIDTH, (mean, log_var), activation=nn.Softplus())
    torch.testing.assert_close(tail(h.clone())[1], nn.functional.softplus(log_var(h.relu())))
    assert tail.fused(torch.randn(4, WIDTH)) is None


@pytest.mark.parametrize("norm", [None, nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH, elementwise_affine=False)])
@pytest.mark.parametrize("bounds", [(-math.inf, math.inf), (-1.0, 0.5)])
def test_fused_is_the_same_function(h: torch.Tensor, norm: nn.LayerNorm | None, bounds: tuple[float, float]):
    if norm is not None and norm.elementwise_affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    steps = [nn.ReLU()] if norm is None else [norm, nn.ReLU()]
    tail = EncoderTail(steps, WIDTH, heads(), var_eps=1e-4, bounds=bounds)
    weight = torch.randn(4, WIDTH)
    fused = tail.fused(weight)
    assert fused.weight.flags.c_contiguous
    assert np.shares_memory(fused.weight, weight.numpy())
    assert {each.dtype for each in (fused.weight, fused.scale, fused.shift, fused.head, fused.head_bias)} == {
        np.dtype(np.float32)
    }
    values = h.numpy().astype(np.float64)
    if fused.layer_norm:
        values = (values - values.mean(1, keepdims=True)) / np.sqrt(values.var(1, keepdims=True) + fused.eps)
    out = np.maximum(values * fused.scale + fused.shift, 0) @ fused.head + fused.head_bias
    mean, var = tail(h.clone())
    np.testing.assert_allclose(mean, out[:, :N_LATENT], atol=1e-6)
    raw = out[:, N_LATENT:].clip(fused.lower, fused.upper)
    np.testing.assert_allclose(var, np.exp(raw) + fused.var_eps, rtol=1e-5)


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 inputs does not fit onto one of 12"):
        EncoderTail([nn.ReLU(), nn.Linear(3, WIDTH)], WIDTH, heads())
