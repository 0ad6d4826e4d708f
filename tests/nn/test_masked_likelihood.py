import numpy as np
import pytest
import torch
from scipy import stats

from scwhatif.nn import MaskedLikelihood

KINDS = ["normal", "student", "nb", "bernoulli"]


def draw(kind, n_rows=8, n_features=4):
    torch.manual_seed(0)
    likelihood = MaskedLikelihood(n_features, kind)
    if kind != "bernoulli":
        torch.nn.init.normal_(likelihood.log_noise)
    eta = torch.randn(n_rows, n_features)
    x = torch.randn(n_rows, n_features)
    if kind == "nb":
        x = torch.poisson((eta + 1).exp())
    if kind == "bernoulli":
        x = (x > 0).float()
    return likelihood, eta, x


@pytest.mark.parametrize("kind", KINDS)
def test_equals_scipy(kind):
    likelihood, eta, x = draw(kind)
    found = likelihood(eta, x, torch.ones_like(x, dtype=torch.bool)).detach().numpy()
    mean, data = eta.double().numpy(), x.double().numpy()
    if kind == "bernoulli":
        wanted = stats.bernoulli.logpmf(data, 1 / (1 + np.exp(-mean)))
    else:
        variance = likelihood.log_variance.detach().double().exp().numpy()
        if kind == "normal":
            wanted = stats.norm.logpdf(data, mean, np.sqrt(variance))
        elif kind == "student":
            wanted = stats.t.logpdf(data, 4, mean, np.sqrt(variance))
        else:
            theta = 1 / variance
            wanted = stats.nbinom.logpmf(data, theta, theta / (theta + np.exp(mean)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_entries_that_were_not_measured_count_for_nothing(kind):
    likelihood, eta, x = draw(kind)
    observed = torch.rand(x.shape) < 0.5
    wanted = likelihood(eta, x, torch.ones_like(observed))
    eta.requires_grad_()
    found = likelihood(eta, torch.where(observed, x, torch.nan), observed)
    torch.testing.assert_close(found[observed], wanted[observed])
    assert (found[~observed] == 0).all()
    found.sum().backward()
    assert (eta.grad[~observed] == 0).all()
    assert torch.isfinite(eta.grad).all()


def test_leading_dimensions_are_kept():
    likelihood, eta, x = draw("normal")
    observed = torch.ones_like(x, dtype=torch.bool)
    found = likelihood(torch.stack([eta, eta + 1]), x, observed)
    torch.testing.assert_close(found[1], likelihood(eta + 1, x, observed))


def test_noise_stays_within_its_bounds():
    likelihood = MaskedLikelihood(3)
    with torch.no_grad():
        likelihood.log_noise.copy_(torch.tensor([-50.0, 0.0, 50.0]))
    torch.testing.assert_close(likelihood.log_variance, torch.tensor([-3.0, 0.0, 3.0]))


def test_the_noise_of_the_data_is_learned():
    torch.manual_seed(0)
    spread = torch.tensor([0.4, 1.0, 2.5])
    x = torch.randn(3000, 3) * spread
    likelihood = MaskedLikelihood(3)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (-likelihood(torch.zeros_like(x), x, torch.ones_like(x, dtype=torch.bool)).mean()).backward()
        optimizer.step()
    torch.testing.assert_close(likelihood.log_variance.exp().sqrt().detach(), spread, rtol=0.05, atol=0.02)


def test_unknown_kind():
    with pytest.raises(ValueError, match="'poisson' is not one of"):
        MaskedLikelihood(3, "poisson")
