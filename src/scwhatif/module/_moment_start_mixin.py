"""Start of a module at the moments of its training data."""

from __future__ import annotations

from typing import Any

import torch

_PRIOR_COUNTS = 5.0


class MomentStartMixin:
    """Closed-form start of bias, batch effects and scales of a module with a linear decoder."""

    decoder: Any
    covariates: Any
    is_count_model: Any
    dispersion: Any
    log_dispersion: torch.Tensor
    input_mean: torch.Tensor
    input_std: torch.Tensor
    initialized: torch.Tensor

    @torch.no_grad()
    def initialize(
        self, total: torch.Tensor, total_square: torch.Tensor, exposure: torch.Tensor, n_obs: torch.Tensor
    ) -> None:
        """Start bias and batch effects (and for continuous features the scaling) at the training data's moments.

        The batch effects then need not be learned step by step while the latent space picks them up instead.

        Parameters
        ----------
        total, total_square
            Sum and sum of squares of each feature over the training cells of each batch, ``(n_batch, n_input)``.
        exposure
            Sum of library sizes or size factors, ``(n_batch, 1)``.
        n_obs
            Number of training cells, ``(n_batch, 1)``.
        """
        if self.is_count_model:
            overall = total.sum(0).clamp(min=0.5) / exposure.sum()
            bias = overall.log()
            # shrunk towards the overall profile, as if every batch had seen a few counts of each gene in it
            per_batch = (total + _PRIOR_COUNTS * overall / overall.mean()).log() - exposure.clamp(min=1e-12).log()
        else:
            bias = total.sum(0) / n_obs.sum()
            var = (total_square.sum(0) / n_obs.sum() - bias.square()).clamp(min=0)
            # a constant feature carries nothing: leave its scale alone instead of dividing by zero
            std = torch.where(var > 0, var, torch.ones_like(var)).sqrt()
            per_batch = total / n_obs.clamp(min=1)
            self.input_mean.copy_(bias)
            self.input_std.copy_(std)
            if self.dispersion != "unit":
                self.log_dispersion.copy_((2 * std.log()).expand_as(self.log_dispersion))
        self.decoder.bias.copy_(bias)
        self.covariates.tables[0].copy_(torch.where(n_obs > 0, per_batch - bias, torch.zeros_like(per_batch)))
        self.initialized.fill_(value=True)
