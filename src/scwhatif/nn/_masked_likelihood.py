"""Likelihood of the entries that were measured, with a noise level learned for every feature."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn.functional import logsigmoid

LayerLikelihood = Literal["normal", "student", "nb", "bernoulli"]

_LOG_NOISE_BOUND = 3.0
_DEGREES_OF_FREEDOM = 4.0
_MAX_LOG_RATE = 15.0


class MaskedLikelihood(nn.Module):
    r"""Elementwise log-likelihood given the decoded location, 0 where nothing was measured.

    ``"normal"``: :math:`N(\eta, s_j^2)`. ``"student"``: Student's t with 4 degrees of freedom, location :math:`\eta`
    and scale :math:`s_j`. ``"nb"``: negative binomial with mean :math:`e^\eta` and inverse dispersion
    :math:`1/s_j^2`. ``"bernoulli"``: :math:`\eta` is the logit, and there is no noise level. :math:`\log s_j^2` is
    learned and kept within [−3, 3], so that neither a feature that is easy to fit nor one that cannot be fitted
    takes over the loss.

    Parameters
    ----------
    n_features
        Number of features.
    kind
        ``"normal"``, ``"student"``, ``"nb"`` or ``"bernoulli"``.

    Raises
    ------
    ValueError
        The kind is not known.
    """

    def __init__(self, n_features: int, kind: LayerLikelihood = "normal") -> None:
        super().__init__()
        if kind not in get_args(LayerLikelihood):
            msg = f"Likelihood {kind!r} is not one of {get_args(LayerLikelihood)}."
            raise ValueError(msg)
        self.kind = kind
        if kind != "bernoulli":
            self.log_noise = nn.Parameter(torch.zeros(n_features))

    @property
    def log_variance(self) -> torch.Tensor:
        r""":math:`\log s_j^2`, ``(n_features,)``."""
        # a plain clamp would cut the gradient off for good
        return _LOG_NOISE_BOUND * torch.tanh(self.log_noise / _LOG_NOISE_BOUND)

    def forward(self, eta: torch.Tensor, x: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Log-likelihood of every entry.

        Parameters
        ----------
        eta
            Decoded location, ``(…, n_rows, n_features)``.
        x
            Data, ``(n_rows, n_features)``; what stands where nothing was measured does not matter.
        observed
            Whether an entry was measured, bool, same shape as ``x``.

        Returns
        -------
        Shape of ``eta``, nats.
        """
        x = torch.where(observed, x, 0.0)
        if self.kind == "bernoulli":
            value = x * logsigmoid(eta) + (1.0 - x) * logsigmoid(-eta)
        elif self.kind == "nb":
            value = _negative_binomial(x, eta.clamp(max=_MAX_LOG_RATE), -self.log_variance)
        else:
            log_var = self.log_variance
            square = (x - eta).square() * (-log_var).exp()
            if self.kind == "normal":
                value = -0.5 * (square + log_var + math.log(2 * math.pi))
            else:
                nu = _DEGREES_OF_FREEDOM
                constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
                value = constant - 0.5 * log_var - 0.5 * (nu + 1) * torch.log1p(square / nu)
        return torch.where(observed, value, 0.0)


def _negative_binomial(x: torch.Tensor, log_mu: torch.Tensor, log_theta: torch.Tensor) -> torch.Tensor:
    theta = log_theta.exp()
    log_total = torch.logaddexp(log_mu, log_theta)
    gamma = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1.0)
    return gamma + theta * (log_theta - log_total) + x * (log_mu - log_total)
