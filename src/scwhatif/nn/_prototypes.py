"""Slowly moving prototypes of cell lines."""

from __future__ import annotations

import torch
from torch import nn


class Prototypes(nn.Module):
    r"""One prototype per cell line, :math:`p_c \leftarrow \mu p_c + (1 - \mu)\,\overline{e_c}`, without gradient.

    Prototypes serve a loss in training only. Prediction never reads them, so an unseen line needs none.

    Parameters
    ----------
    n_lines
        Number of cell lines.
    n_environment
        Dimensions of the environment code.
    momentum
        :math:`\mu`.
    """

    values: torch.Tensor
    visited: torch.Tensor

    def __init__(self, n_lines: int, n_environment: int, *, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("values", torch.zeros(n_lines, n_environment))
        self.register_buffer("visited", torch.zeros(n_lines, dtype=torch.bool))

    def forward(self, environment: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
        """Mean squared distance to the own prototype, over rows and dimensions.

        Parameters
        ----------
        environment
            Environment code of every row, ``(n_rows, n_environment)``.
        lines
            Code of the cell line, ``(n_rows,)``.

        Returns
        -------
        Scalar; a line that was not visited before is compared with its mean in this batch.
        """
        prototypes = self.values.clone()
        means, present = self._means(environment.detach(), lines)
        first = present & ~self.visited
        prototypes[first] = means[first]
        return (environment - prototypes[lines]).square().mean()

    @torch.no_grad()
    def update(self, environment: torch.Tensor, lines: torch.Tensor) -> None:
        """Move the prototypes of the lines in a batch; the others stay as they are.

        Parameters
        ----------
        environment
            Environment code of every row, ``(n_rows, n_environment)``.
        lines
            Code of the cell line, ``(n_rows,)``.
        """
        means, present = self._means(environment, lines)
        again = present & self.visited
        first = present & ~self.visited
        self.values[again] = self.momentum * self.values[again] + (1.0 - self.momentum) * means[again]
        self.values[first] = means[first]
        self.visited |= present

    def _means(self, environment: torch.Tensor, lines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        counts = torch.bincount(lines, minlength=len(self.values))
        sums = torch.zeros_like(self.values).index_add_(0, lines, environment.to(self.values))
        return sums / counts.clamp(min=1).unsqueeze(1), counts > 0
