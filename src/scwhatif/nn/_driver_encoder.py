"""The expert that reads which drivers are present."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from scwhatif.nn._gaussian_encoder import GaussianEncoder

DriverEncoderKind = Literal["attention", "deepset", "linear"]


class DriverEncoder(nn.Module):
    r"""Posterior of the latent state given the drivers of a sample.

    Every driver is a token of its own, :math:`t_{ij} = e_j + x_{ij} v_j`, or :math:`e_j + n_j` where it was not
    called. ``"attention"`` puts a summary token before them and lets all tokens attend to each other, so drivers can
    interact in any pair; ``"deepset"`` adds up a function of each token and transforms the sum; ``"linear"`` adds one
    vector per driver, which is the honest choice for a few hundred samples.

    Parameters
    ----------
    n_drivers
        Number of drivers.
    n_latent
        Number of latent dimensions.
    kind
        ``"attention"``, ``"deepset"`` or ``"linear"``.
    n_hidden
        Width of a token; a multiple of ``n_heads``.
    n_heads, n_layers
        Attention heads, and number of attention blocks.
    dropout_rate
        Dropout within the blocks.

    Raises
    ------
    ValueError
        The kind is not known, or the width no multiple of the number of heads.
    """

    def __init__(
        self,
        n_drivers: int,
        n_latent: int,
        *,
        kind: DriverEncoderKind = "attention",
        n_hidden: int = 32,
        n_heads: int = 4,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
    ) -> None:
        super().__init__()
        if kind not in get_args(DriverEncoderKind):
            msg = f"driver_encoder={kind!r} is not one of {get_args(DriverEncoderKind)}."
            raise ValueError(msg)
        if kind == "attention" and n_hidden % n_heads:
            msg = f"n_hidden={n_hidden} of the driver tokens must be a multiple of n_heads={n_heads}."
            raise ValueError(msg)
        self.kind = kind
        if kind == "linear":
            self.called = nn.Linear(n_drivers, n_latent)
            self.absent = nn.Linear(n_drivers, n_latent, bias=False)
            self.log_variance = nn.Parameter(torch.zeros(n_latent))
            return
        # not called "weight": embeddings are left out of the weight decay
        self.identity = nn.Parameter(torch.randn(n_drivers, n_hidden))
        self.value = nn.Parameter(torch.randn(n_drivers, n_hidden))
        self.absent_value = nn.Parameter(torch.zeros(n_drivers, n_hidden))
        if kind == "attention":
            self.summary = nn.Parameter(torch.randn(n_hidden))
            self.blocks = nn.ModuleList(_Block(n_hidden, n_heads, dropout_rate) for _ in range(n_layers))
        else:
            self.each = nn.Sequential(nn.Linear(n_hidden, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_hidden))
            self.joint = nn.Sequential(
                nn.LayerNorm(n_hidden), nn.Linear(n_hidden, n_hidden), nn.ReLU(), nn.Dropout(dropout_rate)
            )
        self.norm = nn.LayerNorm(n_hidden)
        self.mean = nn.Linear(n_hidden, n_latent)
        self.log_var = nn.Linear(n_hidden, n_latent)

    def forward(self, x: torch.Tensor, called: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior of the latent state.

        Parameters
        ----------
        x
            Drivers, ``(n_rows, n_drivers)``, 0 or 1; what stands where a driver was not called does not matter.
        called
            Whether it was called, bool, same shape.

        Returns
        -------
        Mean and variance, each ``(n_rows, n_latent)``.
        """
        x = torch.where(called, x, 0.0)
        if self.kind == "linear":
            mean = self.called(x) + self.absent((~called).to(x))
            return mean, GaussianEncoder.variance(self.log_variance).expand_as(mean)
        h = self._tokens(x, called)
        if self.kind == "attention":
            for block in self.blocks:
                h, _ = block(h)
            h = h[:, 0]
        else:
            h = self.joint(self.each(h).sum(dim=1))
        h = self.norm(h)
        return self.mean(h), GaussianEncoder.variance(self.log_var(h))

    def attention(self, x: torch.Tensor, called: torch.Tensor) -> torch.Tensor:
        """Attention of the first block. It says where information is read, not how much a driver matters.

        Parameters
        ----------
        x, called
            As in :meth:`forward`.

        Returns
        -------
        Weights, ``(n_rows, n_heads, n_drivers + 1, n_drivers + 1)``; rows add up to 1, the summary token is first.

        Raises
        ------
        TypeError
            The encoder has no attention.
        """
        if self.kind != "attention":
            msg = f"A driver encoder of kind {self.kind!r} has no attention."
            raise TypeError(msg)
        return self.blocks[0](self._tokens(torch.where(called, x, 0.0), called))[1]

    def _tokens(self, x: torch.Tensor, called: torch.Tensor) -> torch.Tensor:
        there = called.unsqueeze(-1)
        tokens = self.identity + torch.where(there, x.unsqueeze(-1) * self.value, self.absent_value)
        if self.kind == "attention":
            tokens = torch.cat([self.summary.expand(len(x), 1, -1), tokens], dim=1)
        return tokens


class _Block(nn.Module):
    """Self-attention and a small network on every token, each after a layer norm and added to its input."""

    def __init__(self, n_hidden: int, n_heads: int, dropout_rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_hidden)
        self.attention = nn.MultiheadAttention(n_hidden, n_heads, dropout=dropout_rate, batch_first=True)
        self.feed = nn.Sequential(
            nn.LayerNorm(n_hidden),
            nn.Linear(n_hidden, 2 * n_hidden),
            nn.ReLU(),
            nn.Dropout(dropout_rate),
            nn.Linear(2 * n_hidden, n_hidden),
        )

    def forward(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        normed = self.norm(h)
        change, weights = self.attention(normed, normed, normed, average_attn_weights=False)
        h = h + change
        return h + self.feed(h), weights
