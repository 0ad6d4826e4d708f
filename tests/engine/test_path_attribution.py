import numpy as np
import pytest
import torch

from scwhatif.engine import _path_attribution
from scwhatif.engine._path_attribution import path_attribution


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).requires_grad_(False)


def values(n=7, seed=0):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


def test_equals_captum(network):
    attr = pytest.importorskip("captum.attr")
    x, origin = values(), values(seed=1)
    wanted = attr.IntegratedGradients(lambda u: network(u)[:, 0]).attribute(
        x, baselines=origin, n_steps=20, method="riemann_middle"
    )
    found = path_attribution(lambda u, _: network(u)[:, 0], x, origin[None], n_steps=20)
    np.testing.assert_allclose(found.values, wanted.detach(), atol=1e-6)


def test_adds_up_to_the_difference_averaged_over_baselines(network):
    x, origins = values(), torch.stack([values(seed=1), values(seed=2)])
    found = path_attribution(lambda u, _: network(u)[:, 0], x, origins, n_steps=100)
    wanted = (network(x) - torch.stack([network(each) for each in origins]).mean(0))[:, 0]
    np.testing.assert_allclose(found.difference, wanted, atol=1e-6)
    np.testing.assert_allclose(found.values.sum(1), wanted, atol=1e-4)
    single = [path_attribution(lambda u, _: network(u)[:, 0], x, each[None], n_steps=100).values for each in origins]
    np.testing.assert_allclose(found.values, (single[0] + single[1]) / 2, atol=1e-9)


def test_of_a_linear_function_it_is_weight_times_way():
    weight, x = torch.tensor([1.0, -2.0, 0.0, 3.0, 0.5]), values()
    found = path_attribution(lambda u, _: u @ weight, x, torch.zeros(1, 7, 5), n_steps=1)
    np.testing.assert_allclose(found.values, x * weight, atol=1e-6)


def test_rows_go_in_chunks_that_know_which_rows_they_are(network, monkeypatch):
    x, gain = values(), torch.arange(7.0)
    whole = path_attribution(lambda u, rows: gain[rows] * network(u)[:, 0], x, torch.zeros(1, 7, 5), n_steps=4)
    monkeypatch.setattr(_path_attribution, "_CHUNK", 3)
    parts = path_attribution(lambda u, rows: gain[rows] * network(u)[:, 0], x, torch.zeros(1, 7, 5), n_steps=4)
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-5)
    np.testing.assert_allclose(parts.difference, whole.difference, atol=1e-5)
    assert not whole.values[0].any()
