"""A layer that changes nothing on the way forward and turns the gradient around on the way back."""

from __future__ import annotations

from typing import Any

import torch


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.scale * gradient, None


def gradient_reversal(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """Gradient reversal (Ganin and Lempitsky 2015): the identity, whose gradient is multiplied by ``-scale``.

    A classifier behind it learns at full rate, while whatever lies before it learns to defeat the classifier.

    Parameters
    ----------
    x
        Any tensor.
    scale
        Strength of the reversed gradient; 0 detaches.

    Returns
    -------
    ``x``.
    """
    return _Reversal.apply(x, scale)


def reversal_schedule(progress: float) -> float:
    r"""Strength of the reversal over training, :math:`2 / (1 + e^{-10 p}) - 1`.

    Parameters
    ----------
    progress
        Share of the training done, 0 to 1.

    Returns
    -------
    0 at the start, close to 1 from the middle on.
    """
    return float(2.0 / (1.0 + torch.exp(torch.tensor(-10.0 * progress, dtype=torch.float64))) - 1.0)
