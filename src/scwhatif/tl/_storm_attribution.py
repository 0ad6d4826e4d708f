"""What every driver of a sample does to scores, by switching it and along a path from no drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    Score = Callable[[torch.Tensor], torch.Tensor]


@torch.no_grad()
def switched(score: Score, x: torch.Tensor, driver: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of all samples without and with a driver.

    Parameters
    ----------
    score
        From drivers ``(n_rows, n_drivers)`` to scores ``(n_rows, n_scores)``.
    x
        Drivers of the samples.
    driver
        Position of the driver.

    Returns
    -------
    The two, each ``(n_rows, n_scores)``.
    """
    off, on = x.clone(), x.clone()
    off[:, driver], on[:, driver] = 0.0, 1.0
    return score(off), score(on)


def integrated_gradients(score: Score, x: torch.Tensor, *, n_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Share of every driver in the scores, :math:`x_j \int_0^1 \partial_j S(\alpha x)\, d\alpha`.

    Parameters
    ----------
    score, x
        As for :func:`switched`; each sample's scores depend on its own drivers only.
    n_steps
        Points of the midpoint rule.

    Returns
    -------
    Shares, ``(n_rows, n_drivers, n_scores)``, and what they should add up to, :math:`S(x) - S(0)`,
    ``(n_rows, n_scores)``.
    """
    with torch.no_grad():
        start, end = score(torch.zeros_like(x)), score(x)
    slope = torch.zeros(*x.shape, end.shape[1], dtype=end.dtype, device=x.device)
    for step in range(n_steps):
        leaf = ((step + 0.5) / n_steps * x).detach().requires_grad_()
        with torch.enable_grad():
            scores = score(leaf).sum(dim=0)
            for k, each in enumerate(scores):
                slope[..., k] += torch.autograd.grad(each, leaf, retain_graph=k + 1 < len(scores))[0]
    return x.unsqueeze(-1) * slope / n_steps, end - start
