"""What the latent code is charged for: β-KL, free bits, capacity, total correlation."""

from __future__ import annotations

import math

import torch


def gaussian_kl(mean: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
    r"""KL divergence of :math:`N(\mu, \sigma^2)` from :math:`N(0, 1)`, elementwise, in nats.

    :math:`\tfrac12(\mu^2 + \sigma^2 - 1 - \log\sigma^2)`.

    Parameters
    ----------
    mean, var
        Posterior mean and variance, any (equal) shape.

    Returns
    -------
    Tensor of the same shape.
    """
    return 0.5 * (mean.square() + var - 1.0 - var.log())


def beta_kl(kl: torch.Tensor, *, beta: float, free_bits: float = 0.0) -> torch.Tensor:
    r"""β-VAE penalty :cite:p:`Higgins2017`, optionally with free bits :cite:p:`Kingma2016`.

    Parameters
    ----------
    kl
        KL per cell and dimension, ``(n_cells, n_latent)``, nats.
    beta
        Weight; 1 is the evidence lower bound.
    free_bits
        Nats per dimension that cost nothing: a dimension whose batch-mean KL is below is charged ``free_bits``
        (a constant, hence no gradient), so it is not pushed into collapse.

    Returns
    -------
    Scalar, mean over cells.
    """
    per_dimension = kl.mean(0)
    if free_bits > 0:
        per_dimension = per_dimension.clamp(min=free_bits)
    return beta * per_dimension.sum()


def capacity_kl(kl: torch.Tensor, *, beta: float, capacity: float | torch.Tensor) -> torch.Tensor:
    r"""Capacity penalty :math:`\beta\,|\sum_j KL_j - C|` :cite:p:`Burgess2018`.

    Parameters
    ----------
    kl
        KL per cell and dimension, ``(n_cells, n_latent)``, nats.
    beta
        Weight (called γ in the source).
    capacity
        Target C of the total KL per cell, nats; the training plan raises it from 0.

    Returns
    -------
    Scalar, mean over cells.
    """
    return beta * (kl.mean(0).sum() - capacity).abs()


def total_correlation(z: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, n_obs: int) -> torch.Tensor:
    r"""Minibatch-weighted estimate of :math:`TC(z) = KL(q(z)\,\|\,\prod_j q(z_j))` :cite:p:`Chen2018`.

    :math:`\log q(z_i) \approx \log\sum_m q(z_i | x_m) - \log(N M)` for a minibatch of M out of N cells, the same
    per dimension; the estimate is biased but its gradient pulls dimensions apart as intended.

    Parameters
    ----------
    z
        One posterior sample per cell, ``(n_cells, n_latent)``.
    mean, var
        Posterior mean and variance, same shape.
    n_obs
        Number of training cells N.

    Returns
    -------
    Scalar, nats, mean over cells.
    """
    distance = (z.unsqueeze(1) - mean.unsqueeze(0)).square() / var.unsqueeze(0)
    log_density = -0.5 * (distance + var.log().unsqueeze(0) + math.log(2 * math.pi))
    log_weight = math.log(max(n_obs, 1) * z.shape[0])
    log_joint = torch.logsumexp(log_density.sum(-1), dim=1) - log_weight
    log_marginals = (torch.logsumexp(log_density, dim=1) - log_weight).sum(-1)
    return (log_joint - log_marginals).mean()
