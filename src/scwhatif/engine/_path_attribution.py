"""What each feature adds to a function of rows on the way from a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 4096


class PathAttribution(NamedTuple):
    """Shares of features, and what they should add up to.

    Attributes
    ----------
    values
        ``(n_rows, n_features)``, mean over baselines.
    difference
        Function of the row less that of the baseline, ``(n_rows,)``, mean over baselines.
    """

    values: torch.Tensor
    difference: torch.Tensor


def path_attribution(
    function: Callable[[torch.Tensor, slice], torch.Tensor],
    values: torch.Tensor,
    baselines: torch.Tensor,
    *,
    n_steps: int,
) -> PathAttribution:
    """Integrated gradients :cite:p:`Sundararajan2017` by the midpoint rule; expected ones with several baselines.

    Parameters
    ----------
    function
        Differentiable; takes features ``(n, n_features)`` and which rows these are, gives ``(n,)``. A value must not
        depend on other rows.
    values
        Features of the rows, ``(n_rows, n_features)``.
    baselines
        ``(n_baselines, n_rows, n_features)``.
    n_steps
        Points at which the gradient is taken on each path.

    Returns
    -------
    Shares, float64.
    """
    total = torch.zeros(values.shape, dtype=torch.float64)
    difference = torch.zeros(len(values), dtype=torch.float64)
    for start in range(0, len(values), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(values)))
        end = values[rows]
        for baseline in baselines[:, rows]:
            way = end - baseline
            slope = torch.zeros_like(way)
            for step in range(n_steps):
                at = (baseline + (step + 0.5) / n_steps * way).requires_grad_()
                slope += torch.autograd.grad(function(at, rows).sum(), at)[0]
            total[rows] += (way * slope / n_steps).double().cpu()
            with torch.no_grad():
                difference[rows] += (function(end, rows) - function(baseline, rows)).double().cpu()
    return PathAttribution(total / len(baselines), difference / len(baselines))
