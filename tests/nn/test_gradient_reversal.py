import math

import pytest
import torch
from torch import nn

from scwhatif.nn import gradient_reversal, reversal_schedule


def test_forward_is_the_identity_and_backward_is_turned_around():
    x = torch.randn(5, 3, requires_grad=True)
    weight = torch.randn(5, 3)
    y = gradient_reversal(x, 0.7)
    assert torch.equal(y, x)
    (y * weight).sum().backward()
    torch.testing.assert_close(x.grad, -0.7 * weight)


def test_the_classifier_behind_it_learns_with_its_own_sign():
    torch.manual_seed(0)
    x, layer = torch.randn(6, 4), nn.Linear(4, 1)
    layer(gradient_reversal(x, 0.3)).sum().backward()
    reversed_gradient = layer.weight.grad.clone()
    layer.zero_grad()
    layer(x).sum().backward()
    torch.testing.assert_close(reversed_gradient, layer.weight.grad)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 1.0])
def test_schedule(progress):
    assert reversal_schedule(progress) == pytest.approx(2 / (1 + math.exp(-10 * progress)) - 1, abs=1e-12)
