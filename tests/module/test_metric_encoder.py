"""The module starts as its input, and reads it centred and scaled."""

from __future__ import annotations

import pytest
import torch
from scvi import REGISTRY_KEYS

from scwhatif.module import MetricEncoderModule
from scwhatif.nn import MetricLoss


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(20, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2, 3, 4, 5]) + 7


def test_residual_starts_as_the_input(x: torch.Tensor):
    module = MetricEncoderModule(5, n_latent=5)
    module.describe_input(x, each_feature=False)
    assert torch.equal(module.inference(x)["z"], x)


def test_centre_and_scale(x: torch.Tensor):
    module = MetricEncoderModule(5, n_latent=5)
    module.describe_input(x, each_feature=False)
    spread = x.var(0, correction=0).mean().sqrt()
    torch.testing.assert_close(module.centre, x.mean(0))
    torch.testing.assert_close(module.scale, spread.expand(5))
    torch.testing.assert_close(module.spread, spread)
    x[:, 2] = 3.0
    module.describe_input(x, each_feature=True)
    expected = x.std(0, correction=0)
    expected[2] = 1.0
    torch.testing.assert_close(module.scale, expected)


def test_counts_are_brought_to_one_depth():
    x = torch.tensor([[1.0, 3.0], [2.0, 6.0], [30.0, 10.0]])
    module = MetricEncoderModule(2, n_latent=2, counts=True)
    module.describe_input(x, each_feature=False)
    assert module.depth.item() == 8.0
    expected = torch.log1p(torch.tensor([[2.0, 6.0], [2.0, 6.0], [6.0, 2.0]]))
    torch.testing.assert_close(module.inference(x)["z"], expected)


def test_what_is_computed(x: torch.Tensor):
    module = MetricEncoderModule(5, n_latent=5, n_hidden=4, n_layers=2).eval()
    torch.nn.init.normal_(module.network[-1].weight)
    module.describe_input(x, each_feature=True)
    change = module.network((x - module.centre) / module.scale)
    torch.testing.assert_close(module.inference(x)["z"], x + module.spread * change)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in module.network) == 3
    alone = MetricEncoderModule(5, n_latent=3, encoder="mlp").eval()
    torch.testing.assert_close(alone.inference(x)["z"], alone.network(x))


def test_loss_reaches_every_parameter_in_two_steps(x: torch.Tensor):
    """Plain DDP refuses parameters without a gradient."""
    module = MetricEncoderModule(5, n_latent=5, n_hidden=4)
    tensors = {REGISTRY_KEYS.X_KEY: x, "identity": torch.arange(20) % 4}
    for step in range(2):
        inferred, generated = module(tensors, compute_loss=False)
        output = module.loss(tensors, inferred, generated, metric_loss=MetricLoss("supcon"))
        assert output.n_obs_minibatch == 20
        module.zero_grad()
        output.loss.backward()
        assert all(p.grad is not None for p in module.parameters())
        assert step == 0 or all(p.grad.abs().sum() > 0 for p in module.parameters())
        with torch.no_grad():
            for p in module.parameters():
                p -= 0.1 * p.grad
