"""Encoder of the numerical features of a pair."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from scwhatif.nn._numerical_embedding import NumericalEmbedding


class PairEncoder(nn.Module):
    """Features with gaps to a code that is not negative and has exact zeros.

    Parameters
    ----------
    n_features
        Number of features.
    n_latent
        Dimensions of the code.
    n_hidden, n_layers, dropout_rate
        Width and number of the hidden layers, and their dropout.
    embedding, n_bins
        As ``kind`` and ``n_bins`` of :class:`scwhatif.nn.NumericalEmbedding`.
    """

    def __init__(
        self,
        n_features: int,
        n_latent: int,
        *,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.3,
        embedding: Literal["piecewise", "periodic", "none"] = "piecewise",
        n_bins: int = 16,
    ) -> None:
        super().__init__()
        self.embedding = NumericalEmbedding(n_features, kind=embedding, n_bins=n_bins)
        layers: list[nn.Module] = []
        width = self.embedding.n_output
        for _ in range(n_layers):
            layers += [nn.Linear(width, n_hidden), nn.ReLU(), nn.Dropout(dropout_rate)]
            width = n_hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, n_latent), nn.ReLU())

    def forward(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Encode.

        Parameters
        ----------
        values
            ``(n_rows, n_features)``.
        observed
            Which values were measured, bool, same shape.

        Returns
        -------
        ``(n_rows, n_latent)``, not negative.
        """
        return self.layers(self.embedding(values, observed))
