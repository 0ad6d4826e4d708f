import copy

import pytest
import torch
from torch import nn

from scwhatif.nn import FeatureLinear


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return FeatureLinear(6, 4)


def test_starts_as_a_linear_layer_and_keeps_its_weight_feature_by_feature(layer):
    torch.manual_seed(0)
    linear = nn.Linear(6, 4)
    assert torch.equal(layer.weight, linear.weight)
    assert torch.equal(layer.bias, linear.bias)
    for each in (layer, copy.deepcopy(layer)):
        each.load_state_dict(linear.state_dict())
        assert each.weight.shape == (4, 6)
        assert each.weight.T.is_contiguous()


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_csr_gives_what_dense_gives(layer, index):
    x = torch.rand(5, 6) * (torch.rand(5, 6) < 0.5)
    # an empty cell and an empty feature
    x[2], x[:, 3] = 0, 0
    csr = x.to_sparse_csr()
    csr = torch.sparse_csr_tensor(csr.crow_indices().to(index), csr.col_indices().to(index), csr.values(), size=x.shape)
    weights = torch.randn(5, 4)
    results = []
    for form in (x, csr):
        layer.zero_grad()
        out = layer(form)
        (out * weights).sum().backward()
        results.append((out, layer.weight.grad.clone(), layer.bias.grad.clone()))
    for dense, sparse in zip(*results, strict=True):
        torch.testing.assert_close(sparse, dense)
    assert layer.weight.grad.T.is_contiguous()


def test_frozen_weights_get_no_gradient(layer):
    layer.weight.requires_grad_(requires_grad=False)
    layer(torch.eye(6).to_sparse_csr()).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
