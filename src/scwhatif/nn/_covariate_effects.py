"""Additive effects of categorical and continuous covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class CovariateEffects(nn.Module):
    """One additive vector per category and one slope per continuous covariate.

    Each categorical covariate keeps a table of its own, so that scArches surgery can append rows for unseen
    categories to any of them without moving the others.

    Parameters
    ----------
    n_categories
        Number of categories of each categorical covariate.
    n_continuous
        Number of continuous covariates.
    n_output
        Length of the effect vectors.
    """

    def __init__(self, n_categories: Sequence[int], n_continuous: int, n_output: int) -> None:
        super().__init__()
        self.tables = nn.ParameterList([nn.Parameter(torch.zeros(n, n_output)) for n in n_categories])
        self.slopes = nn.Parameter(torch.zeros(n_continuous, n_output)) if n_continuous else None

    def forward(self, categorical: Sequence[torch.Tensor], continuous: torch.Tensor | None) -> torch.Tensor | float:
        """Sum of the effects.

        Parameters
        ----------
        categorical
            One integer tensor ``(n_cells, 1)`` per table.
        continuous
            ``(n_cells, n_continuous)`` or ``None``.

        Returns
        -------
        ``(n_cells, n_output)``, or 0 if the model has no covariates.
        """
        effect: torch.Tensor | float = 0.0
        for table, index in zip(self.tables, categorical, strict=True):
            effect = effect + torch.nn.functional.embedding(index.squeeze(-1).long(), table)
        if self.slopes is not None and continuous is not None:
            effect = effect + continuous @ self.slopes
        return effect

    def linear_form(
        self, categorical: Sequence[torch.Tensor], continuous: torch.Tensor | None
    ) -> tuple[torch.Tensor | float, torch.Tensor | None, torch.Tensor | None]:
        """The effects as a constant and a matrix product.

        Parameters
        ----------
        categorical, continuous
            As :meth:`forward` takes them.

        Returns
        -------
        What all cells have in common, ``(n_output,)`` or 0, the design ``(n_cells, n_effects)`` and the effects
        ``(n_effects, n_output)``: the constant plus the product of the two is what :meth:`forward` returns. The last
        two are ``None`` where there is nothing beyond the constant.
        """
        constant: torch.Tensor | float = 0.0
        design, effects = [], []
        for table, index in zip(self.tables, categorical, strict=True):
            if len(table) == 1:
                constant = constant + table[0]
            else:
                design.append(torch.nn.functional.one_hot(index.squeeze(-1).long(), len(table)).to(table.dtype))
                effects.append(table)
        if self.slopes is not None and continuous is not None:
            design.append(continuous)
            effects.append(self.slopes)
        if not design:
            return constant, None, None
        return constant, torch.cat(design, dim=1), torch.cat(effects)
