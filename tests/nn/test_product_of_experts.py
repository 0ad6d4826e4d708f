import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scwhatif.nn import product_of_experts


def naive(means, variances, present):
    mean, variance = torch.zeros(means.shape[1:]), torch.ones(means.shape[1:])
    for row in range(means.shape[1]):
        for d in range(means.shape[2]):
            precision, weighted = 1.0, 0.0
            for m in range(means.shape[0]):
                if present[m, row]:
                    precision += 1 / float(variances[m, row, d])
                    weighted += float(means[m, row, d]) / float(variances[m, row, d])
            mean[row, d], variance[row, d] = weighted / precision, 1 / precision
    return mean, variance


def draw(seed, n_experts=3, n_rows=5, n_latent=2):
    generator = torch.Generator().manual_seed(seed)
    shape = (n_experts, n_rows, n_latent)
    means = torch.randn(shape, generator=generator)
    variances = torch.rand(shape, generator=generator) * 3 + 0.05
    return means, variances, torch.rand(shape[:2], generator=generator) < 0.6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n_experts=st.integers(1, 5))
def test_equals_a_loop_over_entries(seed, n_experts):
    experts = draw(seed, n_experts)
    for found, wanted in zip(product_of_experts(*experts), naive(*experts), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_no_expert_is_the_prior_exactly():
    means, variances, present = draw(0)
    mean, variance = product_of_experts(means, variances, torch.zeros_like(present))
    assert torch.equal(mean, torch.zeros_like(mean))
    assert torch.equal(variance, torch.ones_like(variance))


def test_another_expert_never_raises_the_variance():
    means, variances, present = draw(1, n_experts=6, n_rows=50)
    before = product_of_experts(means, variances, present)[1]
    for m in range(6):
        more = present.clone()
        more[m] = True
        assert (product_of_experts(means, variances, more)[1] <= before).all()


def test_order_of_the_experts_does_not_matter():
    means, variances, present = draw(2, n_experts=4)
    order = torch.tensor([2, 0, 3, 1])
    for a, b in zip(
        product_of_experts(means, variances, present),
        product_of_experts(means[order], variances[order], present[order]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_an_absent_expert_counts_for_nothing_not_even_in_the_gradient(value):
    means, variances, present = draw(3)
    present[1] = False
    kept = [0, 2]
    wanted = product_of_experts(means[kept], variances[kept], present[kept])
    means[1], variances[1] = value, value
    means.requires_grad_()
    variances.requires_grad_()
    found = product_of_experts(means, variances, present)
    torch.testing.assert_close(found, wanted)
    (found[0].sum() + found[1].sum()).backward()
    assert torch.isfinite(means.grad).all()
    assert torch.isfinite(variances.grad).all()
