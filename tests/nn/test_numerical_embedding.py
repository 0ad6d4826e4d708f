import math

import pytest
import torch

from scwhatif.nn import NumericalEmbedding


def test_piecewise_rises_within_its_bin():
    layer = NumericalEmbedding(1, n_bins=4, n_dims=None)
    values = torch.tensor([[-1.0], [-0.25], [1.0]])
    encoded = layer(values, torch.ones_like(values, dtype=torch.bool))
    expected = torch.tensor([[-1, 1, 0, 0, 0, 0], [-0.25, 1, 1, 0.5, 0, 0], [1, 1, 1, 1, 1, 1]])
    torch.testing.assert_close(encoded, expected)
    assert encoded.shape[1] == layer.n_output


def test_edges_are_quantiles_of_measured_training_values():
    layer = NumericalEmbedding(2, n_bins=2)
    values = torch.stack([torch.arange(5.0), torch.tensor([7.0, 8.0, 9.0, 999.0, 999.0])], dim=1)
    observed = torch.ones(5, 2, dtype=torch.bool)
    observed[3:, 1] = False
    layer.initialize(values, observed)
    torch.testing.assert_close(layer.edges, torch.tensor([[0.0, 2.0, 4.0], [7.0, 8.0, 9.0]]))


def test_ties_make_a_step_and_nothing_infinite():
    layer = NumericalEmbedding(1, n_bins=4)
    values = torch.tensor([[0.0]] * 8 + [[1.0], [2.0]])
    observed = torch.ones_like(values, dtype=torch.bool)
    layer.initialize(values, observed)
    assert torch.isfinite(layer(values, observed)).all()


def test_periodic_is_sine_and_cosine():
    layer = NumericalEmbedding(1, kind="periodic", n_bins=1, n_dims=None)
    with torch.no_grad():
        layer.frequencies.fill_(0.25)
    found = layer(torch.tensor([[1.0]]), torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0, math.sin(math.pi / 2), math.cos(math.pi / 2)]]))


def test_own_layer_of_every_feature():
    torch.manual_seed(0)
    layer, plain = NumericalEmbedding(3, n_bins=4, n_dims=2), NumericalEmbedding(3, n_bins=4, n_dims=None)
    values, observed = torch.randn(5, 3), torch.ones(5, 3, dtype=torch.bool)
    encoded = plain(values, observed).view(5, 3, -1)
    expected = [(encoded[:, j] @ layer.weight[j] + layer.bias[j]).relu() for j in range(3)]
    torch.testing.assert_close(layer(values, observed), torch.cat(expected, dim=1))


@pytest.mark.parametrize("kind", ["piecewise", "periodic", "none"])
def test_a_missing_value_is_all_zero_whatever_stands_in_its_place(kind):
    layer = NumericalEmbedding(3, kind=kind)
    values = torch.randn(4, 3)
    observed = torch.ones(4, 3, dtype=torch.bool)
    observed[:, 1] = False
    first = layer(values, observed)
    values[:, 1] = float("nan")
    torch.testing.assert_close(layer(values, observed), first)
    assert first.view(4, 3, -1)[:, 1].abs().max() == 0
    assert first.shape == (4, layer.n_output)
