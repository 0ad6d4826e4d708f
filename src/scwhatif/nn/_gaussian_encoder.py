"""The encoder from features to the parameters of a diagonal Gaussian posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scwhatif.nn._covariate_effects import CovariateEffects
from scwhatif.nn._feature_linear import FeatureLinear

if TYPE_CHECKING:
    from collections.abc import Sequence


class GaussianEncoder(nn.Module):
    """Linear layer on the features (+ covariate effects), hidden layers, then posterior mean and variance.

    Covariates enter once, as additive effects before the first normalisation, so the layer that sees the features
    is affine and a change of one feature is a rank-one update of its output.

    Parameters
    ----------
    n_input
        Number of features.
    n_latent
        Number of latent dimensions.
    n_hidden
        Width of the hidden layers.
    n_layers
        Number of hidden layers.
    dropout_rate
        Dropout after each hidden layer.
    n_categories, n_continuous
        Covariates, see :class:`CovariateEffects`.
    """

    def __init__(
        self,
        n_input: int,
        n_latent: int,
        *,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        n_categories: Sequence[int] = (),
        n_continuous: int = 0,
    ) -> None:
        super().__init__()
        self.first = FeatureLinear(n_input, n_hidden)
        self.covariates = CovariateEffects(n_categories, n_continuous, n_hidden)
        hidden: list[nn.Module] = []
        for layer in range(n_layers):
            if layer:
                hidden.append(nn.Linear(n_hidden, n_hidden))
            # layer norm, not batch norm: no running statistics to drift in surgery, no trouble with a last batch of one
            hidden += [nn.LayerNorm(n_hidden), nn.ReLU(), nn.Dropout(dropout_rate)]
        self.hidden = nn.Sequential(*hidden)
        self.mean = nn.Linear(n_hidden, n_latent)
        self.log_var = nn.Linear(n_hidden, n_latent)

    def forward(
        self, x: torch.Tensor, categorical: Sequence[torch.Tensor] = (), continuous: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior of the latent code.

        Parameters
        ----------
        x
            Features, ``(n_cells, n_input)``, dense or CSR.
        categorical, continuous
            Covariates as :class:`CovariateEffects` takes them.

        Returns
        -------
        Mean and variance, each ``(n_cells, n_latent)``.
        """
        h = self.hidden(self.first(x) + self.covariates(categorical, continuous))
        return self.mean(h), self.variance(self.log_var(h))

    @staticmethod
    def variance(log_var: torch.Tensor) -> torch.Tensor:
        r"""Posterior variance from what its head returns.

        Parameters
        ----------
        log_var
            Any shape.

        Returns
        -------
        Same shape, between e\ :sup:`-12` and e\ :sup:`8`.
        """
        # the bounds are far outside what a trained posterior uses; they keep exp and log finite early on
        return log_var.clamp(-12.0, 8.0).exp()
