import pytest
import torch

from scwhatif.nn import GaussianEncoder


@pytest.mark.parametrize("n_layers", [1, 3])
def test_shapes_and_positive_variance(n_layers):
    encoder = GaussianEncoder(6, 2, n_hidden=8, n_layers=n_layers, n_categories=[3], n_continuous=1)
    mean, var = encoder(torch.randn(4, 6) * 1e3, [torch.tensor([[0], [1], [2], [0]])], torch.ones(4, 1))
    assert mean.shape == var.shape == (4, 2)
    assert (var > 0).all()
    assert torch.isfinite(mean).all()


def test_one_cell_can_be_trained_on():
    encoder = GaussianEncoder(6, 2, n_hidden=8).train()
    mean, _ = encoder(torch.randn(1, 6))
    mean.sum().backward()
    assert torch.isfinite(encoder.first.weight.grad).all()


def test_change_of_one_feature_is_a_rank_one_update_before_the_norm():
    encoder = GaussianEncoder(6, 2, n_hidden=8).eval()
    x = torch.randn(4, 6)
    changed = x.clone()
    changed[:, 3] = 0
    update = encoder.first(x) - x[:, 3:4] * encoder.first.weight[:, 3]
    torch.testing.assert_close(encoder.first(changed), update)
