import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import NegativeBinomial, Poisson

from scwhatif.nn import _linear_count_likelihood as fused
from scwhatif.nn import linear_count_log_likelihood

N_CELLS, N_GENES, N_LATENT = 9, 13, 3


def _case(seed, dtype=torch.float64, n_genes=N_GENES):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    x = torch.poisson(torch.rand(N_CELLS, n_genes, generator=generator) * 6, generator=generator).to(dtype)
    x *= torch.rand(N_CELLS, n_genes, generator=generator) < 0.4
    # no counts at all, and counts beyond the table
    x[0] = 0
    x[1, 2], x[2, 3] = 9, 400
    leaves = [normal(N_CELLS, N_LATENT), normal(n_genes, N_LATENT), normal(n_genes), normal(2, n_genes)]
    leaves.append(normal(n_genes).exp())
    design = torch.nn.functional.one_hot(torch.arange(N_CELLS) % 2).to(dtype)
    return x, [leaf.requires_grad_() for leaf in leaves], design, normal(N_CELLS, 1)


def _both(case, *, poisson, normalize, covariates, csr=True):
    x, leaves, design, log_scale = case
    z, weight, bias, effects, theta = leaves
    result = linear_count_log_likelihood(
        x.to_sparse_csr() if csr else x,
        z,
        weight,
        bias=bias,
        log_scale=log_scale,
        design=design if covariates else None,
        effects=effects if covariates else None,
        theta=None if poisson else theta,
        normalize=normalize,
    )
    eta = z @ weight.T + bias + (design @ effects if covariates else 0)
    log_mu = (eta.log_softmax(-1) if normalize else eta) + log_scale
    px = Poisson(log_mu.exp()) if poisson else NegativeBinomial(theta, logits=log_mu - theta.log(), validate_args=False)
    return result, px.log_prob(x).sum(-1)


def _gradients(value, leaves):
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(gradients, leaves, strict=True)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    poisson=st.booleans(),
    normalize=st.booleans(),
    covariates=st.booleans(),
    csr=st.booleans(),
    block=st.sampled_from([1, 2 * N_GENES, 4 * N_GENES + 1, 1 << 18]),
)
def test_values_and_gradients_are_those_of_the_dense_formula(seed, poisson, normalize, covariates, csr, block):
    case = _case(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_BLOCK", block)
        (total, cells), expected = _both(case, poisson=poisson, normalize=normalize, covariates=covariates, csr=csr)
    torch.testing.assert_close(cells, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(total, expected.sum(), rtol=1e-9, atol=1e-9)
    assert not cells.requires_grad
    # whatever the loss does with the sum
    for ours, dense in zip(_gradients(-3 * total, case[1]), _gradients(-3 * expected.sum(), case[1]), strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-7, atol=1e-8)


def test_float32_is_within_1e_5_of_the_exact_value():
    x, leaves, design, log_scale = _case(0, n_genes=3000)
    exact = _both((x, leaves, design, log_scale + 6), poisson=False, normalize=True, covariates=True)[1].sum()
    single = [leaf.detach().float().requires_grad_() for leaf in leaves]
    case = (x.float(), single, design.float(), log_scale.float() + 6)
    (total, _), _ = _both(case, poisson=False, normalize=True, covariates=True)
    torch.testing.assert_close(total.double(), exact, rtol=1e-5, atol=0)
    for ours, dense in zip(_gradients(total, single), _gradients(exact, leaves), strict=True):
        assert (ours.double() - dense).norm() < 1e-5 * dense.norm()


def test_counts_that_are_not_whole_take_the_gamma_functions():
    case = _case(1)
    case[0].mul_(1.5)
    (_, cells), expected = _both(case, poisson=False, normalize=True, covariates=False)
    torch.testing.assert_close(cells, expected, rtol=1e-9, atol=1e-9)


def test_nan_reaches_the_loss():
    x, leaves, _, log_scale = _case(2)
    x[3, 4] = torch.nan
    total, cells = linear_count_log_likelihood(
        x, leaves[0], leaves[1], bias=leaves[2], log_scale=log_scale, theta=leaves[4]
    )
    assert total.isnan()
    assert cells.isnan().nonzero().tolist() == [[3]]
