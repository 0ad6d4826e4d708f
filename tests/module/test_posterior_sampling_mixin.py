import pytest
import torch

from scwhatif.module import BetaLinearVAE


@pytest.fixture(scope="module")
def tensors():
    x = torch.poisson(torch.full((6, 5), 3.0), generator=torch.Generator().manual_seed(0)) + 1
    return {"X": x, "batch": torch.zeros(6, 1, dtype=torch.long)}


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return BetaLinearVAE(5, n_latent=2, n_hidden=4).eval()


def test_samples_have_the_predicted_mean(module, tensors):
    torch.manual_seed(0)
    samples = module.sample(tensors, n_samples=4000)
    assert samples.shape == (6, 5, 4000)
    assert module.sample(tensors).shape == (6, 5)
    library = tensors["X"].sum(-1)
    torch.testing.assert_close(samples.sum(1).mean(-1), library, rtol=0.1, atol=0)


def test_marginal_likelihood_lies_above_the_elbo_and_does_not_depend_on_passes(module, tensors):
    elbo = -torch.stack([module(tensors)[2].loss.detach() for _ in range(200)]).mean()
    one_pass = module.marginal_ll(tensors, n_mc_samples=2000, n_mc_samples_per_pass=2000, return_mean=True)
    in_parts = module.marginal_ll(tensors, n_mc_samples=2000, n_mc_samples_per_pass=333)
    assert in_parts.shape == (6,)
    assert one_pass > elbo
    assert one_pass == pytest.approx(in_parts.mean().item(), abs=0.05)
