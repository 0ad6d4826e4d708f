import numpy as np
import pytest
import torch

from scwhatif.module import LayerSpec, MultiOmicVAE

LAYERS = [LayerSpec("d", 2, "bernoulli"), LayerSpec("r", 3, "nb"), LayerSpec("p", 4), LayerSpec("s", 2, "student")]


@pytest.fixture
def module():
    torch.manual_seed(0)
    return MultiOmicVAE(LAYERS, drivers="d", n_latent=2, n_hidden=8)


@pytest.fixture
def data():
    torch.manual_seed(1)
    parts = [(torch.rand(50, 2) < 0.3).float(), torch.poisson(torch.full((50, 3), 20.0)), torch.randn(50, 6) * 3 + 5]
    return torch.cat(parts, dim=1), torch.rand(50, 11) < 0.9


def test_columns_follow_the_layers(module):
    assert [(c.start, c.stop) for c in module.columns.values()] == [(0, 2), (2, 5), (5, 9), (9, 11)]
    assert module.n_features == 11


def test_scale_is_that_of_the_measured_entries(module, data):
    x, observed = data
    assert not module.initialized
    module.initialize(torch.where(observed, x, 1e6), observed)
    assert module.initialized
    for j in range(5, 11):
        values = x[observed[:, j], j].numpy()
        np.testing.assert_allclose(module.location[j], values.mean(), rtol=1e-5)
        np.testing.assert_allclose(module.scale[j], values.std(), rtol=1e-5)
    share = x[observed[:, 0], 0].mean()
    np.testing.assert_allclose(torch.sigmoid(module.base[0]), share, rtol=1e-4)


def test_counts_are_log1p_at_the_median_total(module, data):
    x, observed = data
    observed[:] = True
    module.initialize(x, observed)
    totals = x[:, 2:5].sum(1)
    expected = torch.log1p(x[:, 2:5] / totals[:, None] * totals.median())
    torch.testing.assert_close(module.transform(x, observed)[:, 2:5], expected)
    torch.testing.assert_close(module.transform(x, observed)[:, 5:], x[:, 5:])
    log_rate = module.location_of(1, torch.zeros(50, 3), x, observed)
    torch.testing.assert_close(log_rate.exp().mean(0), x[:, 2:5].mean(0), rtol=0.05, atol=0.5)


def test_standardised_values_go_back_to_their_units(module, data):
    x, observed = data
    module.initialize(x, observed)
    standardized = module.standardize(x, observed)
    assert (standardized[~observed] == 0).all()
    for name in ("p", "s"):
        columns = module.columns[name]
        found = module.to_units(name, standardized[:, columns])
        torch.testing.assert_close(found[observed[:, columns]], x[:, columns][observed[:, columns]])
        assert module.to_standardized(name, found) is found


def test_decoded_counts_and_probabilities_in_units(module, data):
    x, observed = data
    module.initialize(x, observed)
    decoded = torch.randn(4, 3)
    rate = (module.base[2:5] + module.scale[2:5] * decoded).exp()
    torch.testing.assert_close(module.to_units("r", module.to_standardized("r", decoded)), rate, rtol=1e-4, atol=1e-3)
    logits = torch.randn(4, 2)
    probability = torch.sigmoid(module.base[:2] + logits)
    torch.testing.assert_close(module.to_units("d", module.to_standardized("d", logits)), probability)


def test_a_feature_that_is_constant_or_never_measured_in_training_is_harmless(module, data):
    x, observed = data
    x[:, 5] = 3.0
    observed[:, 6] = False
    observed[:, 2:5] = False
    module.initialize(x, observed)
    assert module.scale[5] == module.scale[6] == 1.0
    assert torch.isfinite(module.standardize(x, torch.ones_like(observed))).all()
    assert module.median_total[1] == 1.0
