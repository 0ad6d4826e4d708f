"""Posterior predictive samples and marginal likelihood."""

from __future__ import annotations

import math
from typing import Any

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import auto_move_data


class PosteriorSamplingMixin:
    """What scvi-tools' model mixins ask of a module with ``forward`` and ``log_likelihood``."""

    forward: Any
    log_likelihood: Any

    @torch.inference_mode()
    def sample(
        self,
        tensors: dict[str, torch.Tensor],
        n_samples: int = 1,
        generative_kwargs: dict[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Draw from the posterior predictive distribution.

        Parameters
        ----------
        tensors
            A minibatch.
        n_samples
            Number of draws per cell.
        generative_kwargs
            Passed on to :meth:`generative`.

        Returns
        -------
        ``(n_cells, n_features)`` or ``(n_cells, n_features, n_samples)``, on the CPU.
        """
        _, generative_outputs = self.forward(
            tensors,
            inference_kwargs={"n_samples": n_samples},
            generative_kwargs=generative_kwargs,
            compute_loss=False,
        )
        samples = generative_outputs["px"].sample()
        return (samples if n_samples == 1 else samples.permute(1, 2, 0)).cpu()

    @torch.inference_mode()
    @auto_move_data
    def marginal_ll(
        self,
        tensors: dict[str, torch.Tensor],
        n_mc_samples: int,
        return_mean: bool = False,  # noqa: FBT001, FBT002  (scvi-tools' signature)
        n_mc_samples_per_pass: int = 1,
    ) -> torch.Tensor | float:
        """Importance-sampled marginal log-likelihood.

        Parameters
        ----------
        tensors
            A minibatch.
        n_mc_samples
            Number of posterior samples.
        return_mean
            Whether to average over cells.
        n_mc_samples_per_pass
            Samples drawn at once.

        Returns
        -------
        Mean over cells, or one value per cell on the CPU.
        """
        log_weights = []
        remaining = n_mc_samples
        while remaining > 0:
            n_samples = min(remaining, n_mc_samples_per_pass)
            remaining -= n_samples
            inference_outputs, generative_outputs = self.forward(
                tensors,
                inference_kwargs={"n_samples": n_samples},
                get_inference_input_kwargs={"full_forward_pass": True},
                compute_loss=False,
            )
            z = inference_outputs["z"]
            log_weight = (
                self.log_likelihood(tensors[REGISTRY_KEYS.X_KEY], generative_outputs)
                + generative_outputs["pz"].log_prob(z).sum(-1)
                - inference_outputs["qz"].log_prob(z).sum(-1)
            )
            log_weights.append(log_weight.reshape(n_samples, -1))
        result = torch.logsumexp(torch.cat(log_weights), dim=0) - math.log(n_mc_samples)
        return result.mean().item() if return_mean else result.cpu()
