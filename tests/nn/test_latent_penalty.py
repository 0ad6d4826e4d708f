import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from scwhatif.nn import beta_kl, capacity_kl, gaussian_kl, total_correlation


def _posterior(n_cells=64, n_latent=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(n_cells, n_latent, generator=generator, dtype=torch.float64)
    var = torch.rand(n_cells, n_latent, generator=generator, dtype=torch.float64) + 0.1
    return mean, var


def test_gaussian_kl_equals_torch():
    mean, var = _posterior()
    standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(gaussian_kl(mean, var), kl_divergence(Normal(mean, var.sqrt()), standard))


def test_beta_scales_the_kl():
    kl = gaussian_kl(*_posterior())
    torch.testing.assert_close(beta_kl(kl, beta=4.0), 4 * kl.sum(-1).mean())


def test_free_bits_stop_the_gradient_of_cheap_dimensions_only():
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]], dtype=torch.float64, requires_grad=True)
    penalty = beta_kl(kl, beta=2.0, free_bits=0.5)
    assert penalty.item() == pytest.approx(2 * (0.5 + 3.0))
    penalty.backward()
    torch.testing.assert_close(kl.grad, torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize(("capacity", "sign"), [(1.0, 1.0), (1e3, -1.0)])
def test_capacity_pulls_the_kl_to_its_target(capacity, sign):
    kl = gaussian_kl(*_posterior()).requires_grad_()
    penalty = capacity_kl(kl, beta=5.0, capacity=capacity)
    assert penalty.item() == pytest.approx(5 * abs(kl.sum(-1).mean().item() - capacity))
    penalty.backward()
    assert torch.all(torch.sign(kl.grad) == sign)


def test_total_correlation_equals_a_double_loop():
    mean, var = _posterior(n_cells=6, n_latent=2)
    z = mean + 0.1
    n_obs = 50
    expected = 0.0
    for i in range(6):
        joint = 0.0
        marginal = [0.0, 0.0]
        for m in range(6):
            densities = [Normal(mean[m, j], var[m, j].sqrt()).log_prob(z[i, j]).exp().item() for j in range(2)]
            joint += densities[0] * densities[1]
            marginal = [marginal[j] + densities[j] for j in range(2)]
        log_weight = math.log(n_obs * 6)
        expected += math.log(joint) - log_weight - sum(math.log(each) - log_weight for each in marginal)
    assert total_correlation(z, mean, var, n_obs).item() == pytest.approx(expected / 6)


def test_total_correlation_orders_dependence():
    generator = torch.Generator().manual_seed(0)
    var = torch.full((400, 2), 0.05, dtype=torch.float64)
    estimates = []
    for correlation in (0.0, 0.5, 0.95):
        covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
        scale = torch.linalg.cholesky(covariance)
        mean = torch.randn(400, 2, generator=generator, dtype=torch.float64) @ scale.T
        z = mean + var.sqrt() * torch.randn(400, 2, generator=generator, dtype=torch.float64)
        estimates.append(total_correlation(z, mean, var, 400).item())
    assert estimates[0] < estimates[1] < estimates[2]
    # a jointly Gaussian q(z) has TC = -1/2 log(1 - rho^2); the estimate is shifted by the log of the weight
    gaussian_gap = 0.5 * math.log(1 / (1 - (0.95 / 1.05) ** 2))
    assert estimates[2] - estimates[0] == pytest.approx(gaussian_gap, abs=0.25)
