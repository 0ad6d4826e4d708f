"""Numbers as small vectors, so that a network sees steps and bends in a single feature."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

_NARROWEST = 1e-6


class NumericalEmbedding(nn.Module):
    r"""Piecewise linear or periodic encoding of numerical features (Gorishniy, Rubachev and Babenko 2022).

    A missing value is encoded as 0 in all its dimensions, next to an indicator that it is there.

    Parameters
    ----------
    n_features
        Number of features.
    kind
        ``"piecewise"``: one dimension per bin, which rises from 0 to 1 within the bin, with the value itself beside
        them; ``"periodic"``: sine and cosine of learned frequencies; ``"none"``: the value itself.
    n_bins
        Bins, or frequencies, per feature.
    n_dims
        Dimensions per feature to which a layer of its own, with a ReLU, brings the encoding; ``None`` leaves it as it
        is. ``"none"`` has no such layer.
    frequency_scale
        Standard deviation of the initial frequencies.
    """

    edges: torch.Tensor

    def __init__(
        self,
        n_features: int,
        *,
        kind: Literal["piecewise", "periodic", "none"] = "piecewise",
        n_bins: int = 16,
        n_dims: int | None = 4,
        frequency_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.kind = kind
        width = {"piecewise": n_bins, "periodic": 2 * n_bins, "none": 0}[kind] + 2
        self.weight = self.bias = None
        if n_dims is not None and kind != "none":
            self.weight = nn.Parameter(torch.randn(n_features, width, n_dims) * width**-0.5)
            self.bias = nn.Parameter(torch.zeros(n_features, n_dims))
            width = n_dims
        self.n_output = n_features * width
        if kind == "piecewise":
            self.register_buffer("edges", torch.linspace(-1.0, 1.0, n_bins + 1).repeat(n_features, 1))
        elif kind == "periodic":
            self.frequencies = nn.Parameter(frequency_scale * torch.randn(n_features, n_bins))

    @torch.no_grad()
    def initialize(self, values: torch.Tensor, observed: torch.Tensor) -> None:
        """Put the edges of the bins at quantiles of the training rows.

        Parameters
        ----------
        values
            ``(n_rows, n_features)``.
        observed
            Which values were measured, bool, same shape.
        """
        if self.kind != "piecewise":
            return
        levels = torch.linspace(0.0, 1.0, self.edges.shape[1], device=values.device, dtype=values.dtype)
        for j in range(values.shape[1]):
            column = values[observed[:, j], j]
            if len(column):
                ordered = column.sort().values
                self.edges[j] = ordered[(levels * (len(ordered) - 1)).round().long()]

    def forward(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Encode.

        Parameters
        ----------
        values
            ``(n_rows, n_features)``; anything where nothing was measured.
        observed
            Which values were measured, bool, same shape.

        Returns
        -------
        ``(n_rows, n_output)``.
        """
        values = values.masked_fill(~observed, 0.0)
        parts = [values.unsqueeze(-1), torch.ones_like(values).unsqueeze(-1)]
        if self.kind == "piecewise":
            low, width = self.edges[:, :-1], self.edges.diff(dim=1).clamp(min=_NARROWEST)
            parts.append(((values.unsqueeze(-1) - low) / width).clamp(0.0, 1.0))
        elif self.kind == "periodic":
            angle = 2 * math.pi * self.frequencies * values.unsqueeze(-1)
            parts += [angle.sin(), angle.cos()]
        encoded = torch.cat(parts, dim=-1)
        if self.weight is not None and self.bias is not None:
            encoded = (torch.einsum("nfw,fwd->nfd", encoded, self.weight) + self.bias).relu()
        return (encoded * observed.unsqueeze(-1)).flatten(1)
