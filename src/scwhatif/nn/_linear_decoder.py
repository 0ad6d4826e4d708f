"""The linear map from latent dimensions to features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.functional import linear, softplus


class LinearDecoder(nn.Module):
    r"""Affine map :math:`z \mapsto W z + b` with nothing behind :math:`W`.

    Because no normalisation follows, rotating ``z`` and the columns of ``W`` by the same orthogonal matrix changes
    neither the output nor a standard normal prior: the axes may be chosen after training.

    Parameters
    ----------
    n_latent
        Number of latent dimensions.
    n_output
        Number of features.
    constraint
        ``"linear"`` leaves ``W`` free; ``"nonnegative"`` uses the softplus of the stored weight, so a dimension can
        only raise features (parts, not contrasts).
    """

    def __init__(self, n_latent: int, n_output: int, constraint: Literal["linear", "nonnegative"] = "linear") -> None:
        super().__init__()
        self.constraint = constraint
        weight = torch.randn(n_output, n_latent) * 0.1
        if constraint == "nonnegative":
            weight = torch.log(torch.expm1(weight.abs() + 1e-3))
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(n_output))

    @property
    def loadings(self) -> torch.Tensor:
        """The effective ``W``, ``(n_output, n_latent)``."""
        return softplus(self.weight) if self.constraint == "nonnegative" else self.weight

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Decode.

        Parameters
        ----------
        z
            Latent codes, ``(..., n_latent)``.

        Returns
        -------
        ``(..., n_output)``.
        """
        return linear(z, self.loadings, self.bias)
