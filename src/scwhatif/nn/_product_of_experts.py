"""Gaussian experts, whichever are present, multiplied with the prior."""

from __future__ import annotations

import torch


def product_of_experts(
    means: torch.Tensor, variances: torch.Tensor, present: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Product of :math:`N(0, I)` and of the experts that are present (Wu and Goodman 2018).

    .. math::
        P = I + \sum_m o_m \Sigma_m^{-1}, \qquad \mu = P^{-1} \sum_m o_m \Sigma_m^{-1} \mu_m

    With no expert this is the prior exactly, an absent expert counts for nothing whatever its values, and another
    expert can only lower the variance.

    Parameters
    ----------
    means, variances
        Of the experts, ``(n_experts, n_rows, n_latent)``; the variances are positive.
    present
        Which experts are there, ``(n_experts, n_rows)``, bool.

    Returns
    -------
    Mean and variance of the product, each ``(n_rows, n_latent)``.
    """
    # where, not a product with the mask: an absent expert may hold NaN
    here = present.unsqueeze(-1)
    precision = torch.where(here, 1.0 / torch.where(here, variances, 1.0), 0.0)
    variance = 1.0 / (1.0 + precision.sum(dim=0))
    return variance * (precision * torch.where(here, means, 0.0)).sum(dim=0), variance
