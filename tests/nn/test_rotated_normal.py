import torch
from scvi.distributions._utils import subset_distribution
from torch.distributions import MultivariateNormal

from scwhatif.nn import RotatedNormal


def _case(n_cells=4, n_latent=3):
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(n_cells, n_latent, generator=generator, dtype=torch.float64)
    var = torch.rand(n_cells, n_latent, generator=generator, dtype=torch.float64) + 0.1
    rotation = torch.linalg.qr(torch.randn(n_latent, n_latent, generator=generator, dtype=torch.float64)).Q
    joint = MultivariateNormal(mean @ rotation, rotation.T @ torch.diag_embed(var) @ rotation)
    return RotatedNormal.from_axes(mean, var, rotation), joint


def test_density_and_marginals_are_those_of_the_joint_gaussian():
    rotated, joint = _case()
    value = torch.randn(5, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(rotated.log_prob(value).sum(-1), joint.log_prob(value))
    torch.testing.assert_close(rotated.mean, joint.mean)
    torch.testing.assert_close(rotated.variance, joint.variance)


def test_samples_have_the_joint_covariance():
    rotated, joint = _case()
    torch.manual_seed(0)
    samples = rotated.sample((40_000,))
    for cell in range(4):
        torch.testing.assert_close(torch.cov(samples[:, cell].T), joint.covariance_matrix[cell], atol=0.03, rtol=0.03)


def test_a_copy_by_parameters_keeps_the_marginals():
    rotated, joint = _case()
    copied = subset_distribution(rotated, torch.tensor([1, 3]))
    torch.testing.assert_close(copied.mean, joint.mean[[1, 3]])
    assert copied.rsample().shape == (2, 3)
    assert copied.log_prob(copied.mean).shape == (2, 3)
