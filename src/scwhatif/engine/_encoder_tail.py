"""Everything of an encoder after its first linear layer."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from scwhatif.engine._fused_tail import FusedTail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class EncoderTail(nn.Module):
    """Normalisation and activation of the first layer, later layers, and the heads of posterior mean and variance.

    In evaluation mode: dropout is gone and batch normalisation is part of the layer before it. Where a later layer
    takes more inputs than the layer before has outputs, the rest are covariates, which are the same for a cell
    whatever is edited: what they add is computed once, by :meth:`inject`.

    Parameters
    ----------
    steps
        The modules that follow the first linear layer, in order, without its batch normalisation. Later linear layers
        begin a new layer.
    width
        Outputs of the first layer.
    heads
        The layers that give the mean and what the variance is made from.
    activation
        Makes the variance from what its head returns.
    var_eps
        Added to it.
    bounds
        Of what the variance's head returns; it is clipped to them.

    Raises
    ------
    ValueError
        The steps do not fit onto each other.
    """

    def __init__(
        self,
        steps: Sequence[nn.Module],
        width: int,
        heads: tuple[nn.Linear, nn.Linear],
        *,
        activation: Callable[[torch.Tensor], torch.Tensor] = torch.exp,
        var_eps: float = 0.0,
        bounds: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        super().__init__()
        blocks: list[list[nn.Module]] = [[]]
        for step in steps:
            if isinstance(step, nn.Linear):
                blocks.append([])
            blocks[-1].append(step)
        self.first = _activations(blocks[0])
        layers: list[_Layer] = []
        for linear, *rest in blocks[1:]:
            layers.append(_Layer([linear], width, rest))
            width = layers[-1].weight.shape[0]
        # one product for both heads
        self.head = _Layer(heads, width, [])
        self.layers = nn.ModuleList([*layers, self.head])
        self.activation = activation
        self.var_eps = float(var_eps)
        self.bounds = bounds
        self.eval().requires_grad_(requires_grad=False)

    @property
    def n_latent(self) -> int:
        """Number of latent dimensions."""
        return self.head.bias.shape[0] // 2

    def inject(self, columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What covariates add to later layers.

        Parameters
        ----------
        columns
            What is appended to the features, ``(n_cells, n)``; later layers take the last columns.

        Returns
        -------
        One ``(n_cells, width)`` for each layer that takes covariates.
        """
        taking: list[Any] = [layer.covariates for layer in self.layers if layer.covariates is not None]
        return tuple(columns[:, columns.shape[1] - weight.shape[1] :] @ weight.T for weight in taking)

    def forward(self, h: torch.Tensor, injected: Sequence[torch.Tensor] = ()) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior from what the first layer returns, after its batch normalisation.

        Parameters
        ----------
        h
            ``(n, n_hidden)``. May be overwritten.
        injected
            From :meth:`inject`, row by row like ``h``.

        Returns
        -------
        Mean and variance, ``(n, n_latent)`` each.
        """
        covariates = iter(injected)
        h = self.first(h)
        for layer in self.layers:
            h = layer(h, None if layer.covariates is None else next(covariates))
        mean, raw = h.chunk(2, dim=1)
        if self.bounds != (-math.inf, math.inf):
            raw = raw.clamp(*self.bounds)
        return mean, self.activation(raw) + self.var_eps

    def fused(self, weight: torch.Tensor) -> FusedTail | None:
        """The same for one compiled loop on a CPU, if it fits one.

        Parameters
        ----------
        weight
            Of the first layer, ``(n_features, n_hidden)``.

        Returns
        -------
        ``None`` if there is more than one hidden layer, or a step of a kind that the loop does not know.
        """
        kinds = [*map(type, self.first)]
        norm: Any = self.first[0] if kinds[:1] == [nn.LayerNorm] else None
        known = kinds[norm is not None :] == [nn.ReLU] and self.activation is torch.exp
        if not known or len(self.layers) > 1 or self.head.covariates is not None or weight.device.type != "cpu":
            return None
        scale, shift = torch.ones(weight.shape[1]), torch.zeros(weight.shape[1])
        if norm is not None and norm.elementwise_affine:
            scale, shift = norm.weight, shift if norm.bias is None else norm.bias
        return FusedTail(
            weight=weight.numpy(),
            scale=scale.numpy(),
            shift=shift.numpy(),
            layer_norm=norm is not None,
            eps=0.0 if norm is None else norm.eps,
            head=self.head.weight.T.contiguous().numpy(),
            head_bias=self.head.bias.numpy(),
            var_eps=self.var_eps,
            lower=self.bounds[0],
            upper=self.bounds[1],
        )


class _Layer(nn.Module):
    """Linear layers side by side, batch normalisation folded in, and what follows."""

    weight: torch.Tensor
    bias: torch.Tensor
    covariates: torch.Tensor | None

    def __init__(self, linears: Sequence[nn.Module], width: int, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        weight = torch.cat([linear.weight.detach() for linear in linears])  # type: ignore[operator]
        bias = torch.cat([_bias(linear) for linear in linears])
        if weight.shape[1] < width:
            msg = f"a layer of {weight.shape[1]} inputs does not fit onto one of {width} outputs."
            raise ValueError(msg)
        scale, shift, rest = fold_batch_norm(steps)
        if scale is not None and shift is not None:
            weight, bias = weight * scale.unsqueeze(1), bias * scale + shift
        self.register_buffer("weight", weight[:, :width].clone())
        self.register_buffer("bias", bias)
        self.register_buffer("covariates", weight[:, width:].clone() if weight.shape[1] > width else None)
        self.then = _activations(rest)

    def forward(self, h: torch.Tensor, injected: torch.Tensor | None) -> torch.Tensor:
        h = F.linear(h, self.weight, self.bias)
        return self.then(h if injected is None else h.add_(injected))


def _bias(linear: Any) -> torch.Tensor:
    return linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias.detach()


def fold_batch_norm(
    steps: Sequence[nn.Module],
) -> tuple[torch.Tensor | None, torch.Tensor | None, list[nn.Module]]:
    """Read the batch normalisation that begins a sequence of steps, if there is one, as an affine function.

    Parameters
    ----------
    steps
        What follows a linear layer.

    Returns
    -------
    Factor and addend per unit, ``None`` each if there is no batch normalisation, and the steps after it.
    """
    if not steps or not isinstance(steps[0], nn.BatchNorm1d) or steps[0].running_var is None:
        return None, None, list(steps)
    norm: Any = steps[0]
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.detach()
    shift = -norm.running_mean * scale
    return scale, shift + norm.bias.detach() if norm.affine else shift, list(steps[1:])


def _activations(steps: Sequence[nn.Module]) -> nn.Sequential:
    return nn.Sequential(*map(_plain, steps))


def _plain(step: nn.Module) -> nn.Module:
    """Copy of a step as torch's own class where there is one: those of others may not be picklable."""
    if type(step) is nn.ReLU:
        # it works on a result of the tail's own
        return nn.ReLU(inplace=True)
    if not isinstance(step, nn.LayerNorm):
        return copy.deepcopy(step)
    norm = nn.LayerNorm(step.normalized_shape, step.eps, step.elementwise_affine, step.bias is not None)
    norm.load_state_dict(step.state_dict())
    return norm
