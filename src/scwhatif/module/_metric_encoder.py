"""The module behind :class:`scwhatif.model.MetricEncoder`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scwhatif.nn import MetricLoss

IDENTITY_KEY, EXAM_KEY = "identity", "exam"


class MetricEncoderModule(BaseModuleClass):
    r"""A residual head, :math:`h(x) + s\,f(\tilde h(x))`, or a network :math:`f(\tilde h(x))` on its own.

    :math:`h` is the input, or, of counts, :math:`\log(1 + d\,x / \sum x)`. What :math:`f` reads is centred and scaled.
    The last layer of a residual head starts at 0, so the module starts as :math:`h`.

    Parameters
    ----------
    n_input
        Features.
    n_latent
        Dimensions of the result; of a residual head those of the input.
    encoder
        ``"residual"`` or ``"mlp"``.
    counts
        Whether the input is counts.
    n_hidden, n_layers, dropout_rate
        Of :math:`f`.
    """

    centre: torch.Tensor
    scale: torch.Tensor
    spread: torch.Tensor
    depth: torch.Tensor

    def __init__(
        self,
        n_input: int,
        *,
        n_latent: int,
        encoder: Literal["residual", "mlp"] = "residual",
        counts: bool = False,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_input, self.n_latent, self.counts = n_input, n_latent, counts
        self.residual = encoder == "residual"
        sizes = [n_input, *[n_hidden] * n_layers]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout_rate)]
        last = nn.Linear(n_hidden, n_latent)
        if self.residual:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*layers, last)
        self.register_buffer("centre", torch.zeros(n_input))
        self.register_buffer("scale", torch.ones(n_input))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("depth", torch.ones(()))

    @torch.no_grad()
    def describe_input(self, x: torch.Tensor, *, each_feature: bool) -> None:
        """Take centre and scale of the input from training rows.

        Parameters
        ----------
        x
            ``(n, n_input)``.
        each_feature
            Whether every feature has a scale of its own, or all have one.
        """
        if self.counts:
            self.depth.copy_(x.sum(1).median())
        h = self.transform(x)
        variance = h.var(0, correction=0)
        self.centre.copy_(h.mean(0))
        self.spread.copy_(variance.mean().sqrt())
        self.scale.copy_(torch.where(variance > 0, variance.sqrt(), 1.0) if each_feature else self.spread)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """The input as it is compared: counts are brought to one depth and logged.

        Parameters
        ----------
        x
            ``(n, n_input)``.

        Returns
        -------
        ``(n, n_input)``.
        """
        return torch.log1p(self.depth * x / x.sum(1, keepdim=True)) if self.counts else x

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        return {"x": tensors[REGISTRY_KEYS.X_KEY]}

    def _get_generative_input(self, tensors: Any, inference_outputs: Any) -> dict[str, Any]:
        return {}

    @auto_move_data
    def inference(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Embed rows.

        Parameters
        ----------
        x
            ``(n, n_input)``.

        Returns
        -------
        ``"z"``, ``(n, n_latent)``.
        """
        h = self.transform(x)
        change = self.network((h - self.centre) / self.scale)
        return {"z": h + self.spread * change if self.residual else change}

    def generative(self) -> dict[str, torch.Tensor]:
        """Nothing is decoded."""
        return {}

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor],
        *,
        metric_loss: MetricLoss,
        compared: Sequence[torch.Tensor] | None = None,
    ) -> LossOutput:
        """Loss of a batch.

        Parameters
        ----------
        tensors, inference_outputs, generative_outputs
            As scvi-tools passes them.
        metric_loss, compared
            The loss, and what it is to compare.

        Returns
        -------
        The loss; there are no other terms.
        """
        z = inference_outputs["z"]
        value = metric_loss(z, tensors[IDENTITY_KEY], compared)
        return LossOutput(loss=value, n_obs_minibatch=len(z))
