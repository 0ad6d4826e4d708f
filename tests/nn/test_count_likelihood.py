import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scvi.distributions import ZeroInflatedNegativeBinomial
from torch.distributions import NegativeBinomial, Poisson

from scwhatif.nn import (
    negative_binomial_log_likelihood,
    poisson_log_likelihood,
    zero_inflated_negative_binomial_log_likelihood,
)


def _case(seed=0, n_cells=7, n_genes=11, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    log_mu = torch.randn(n_cells, n_genes, generator=generator, dtype=dtype) * 2
    x = torch.poisson(log_mu.exp(), generator=generator) * (torch.rand(n_cells, n_genes, generator=generator) < 0.7)
    theta = torch.randn(n_genes, generator=generator, dtype=dtype).exp()
    return x.to(dtype), log_mu, theta


def _reference(x, log_mu, theta):
    distribution = NegativeBinomial(total_count=theta, logits=log_mu - theta.log(), validate_args=False)
    return distribution.log_prob(x).sum(-1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_negative_binomial_equals_torch(seed):
    x, log_mu, theta = _case(seed)
    torch.testing.assert_close(
        negative_binomial_log_likelihood(x, log_mu, theta), _reference(x, log_mu, theta), rtol=1e-10, atol=1e-10
    )


def test_negative_binomial_with_one_theta_per_cell_and_leading_samples():
    x, log_mu, theta = _case()
    per_cell = theta * torch.linspace(0.5, 2, len(x), dtype=x.dtype).unsqueeze(-1)
    stacked = torch.stack([log_mu, log_mu + 0.3, log_mu - 1])
    expected = torch.stack([_reference(x, each, per_cell) for each in stacked])
    result = negative_binomial_log_likelihood(x, stacked, per_cell)
    assert result.shape == (3, len(x))
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("per_cell", [False, True])
def test_negative_binomial_gradients(per_cell):
    x, log_mu, theta = _case(n_cells=3, n_genes=4)
    if per_cell:
        theta = theta.repeat(3, 1)
    torch.autograd.gradcheck(
        lambda m, t: negative_binomial_log_likelihood(x, m, t), (log_mu.requires_grad_(), theta.requires_grad_())
    )


def test_negative_binomial_in_float32_is_closer_to_exact_than_the_dense_formula_at_large_theta():
    x, log_mu, theta = _case(n_genes=200)
    theta = theta * 1e6
    exact = _reference(x, log_mu, theta)
    ours = negative_binomial_log_likelihood(x.float(), log_mu.float(), theta.float()).double()
    dense = _reference(x.float(), log_mu.float(), theta.float()).double()
    assert (ours - exact).abs().max() < 1e-2
    assert (ours - exact).abs().max() < 0.01 * (dense - exact).abs().max()


def test_poisson_equals_torch():
    x, log_mu, _ = _case()
    torch.testing.assert_close(poisson_log_likelihood(x, log_mu), Poisson(log_mu.exp()).log_prob(x).sum(-1))


def test_zero_inflated_equals_scvi():
    x, log_mu, theta = _case()
    zero_logits = torch.randn_like(log_mu)
    distribution = ZeroInflatedNegativeBinomial(mu=log_mu.exp(), theta=theta, zi_logits=zero_logits)
    expected = distribution.log_prob(x).sum(-1)
    result = zero_inflated_negative_binomial_log_likelihood(x, log_mu, theta, zero_logits)
    # scvi-tools adds 1e-8 inside its logarithms
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_zero_inflation_switched_off_is_negative_binomial():
    x, log_mu, theta = _case()
    never = torch.full_like(log_mu, -60.0)
    torch.testing.assert_close(
        zero_inflated_negative_binomial_log_likelihood(x, log_mu, theta, never),
        negative_binomial_log_likelihood(x, log_mu, theta),
    )
