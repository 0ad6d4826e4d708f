"""Links between features of the same gene, and the decoder skip that runs along them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence


def cis_links(target: Sequence[str | None], source: Sequence[str | None], *, max_links: int = 8) -> torch.Tensor:
    """Features of one layer that share a gene with each feature of another.

    Parameters
    ----------
    target, source
        Gene symbols of the features of the two layers; several are separated by ``";"``, ``None`` or ``""`` is none.
        Upper and lower case are the same.
    max_links
        Largest number of links of a feature; the first ones are kept.

    Returns
    -------
    Positions in ``source``, ``(len(target), n)`` int64 in rising order, filled up with −1; ``n`` is the largest number
    of links, at least 1.
    """
    by_gene: dict[str, list[int]] = {}
    for position, symbols in enumerate(source):
        for gene in _genes(symbols):
            by_gene.setdefault(gene, []).append(position)
    found = [sorted({p for gene in _genes(symbols) for p in by_gene.get(gene, ())})[:max_links] for symbols in target]
    width = max([len(positions) for positions in found], default=0) or 1
    rows = [positions + [-1] * (width - len(positions)) for positions in found]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(found), width)


def _genes(symbols: str | None) -> list[str]:
    return [gene.strip().upper() for gene in (symbols or "").split(";") if gene.strip()]


class CisSkip(nn.Module):
    """Adds to every feature its same-gene features of another layer, each with a weight of its own.

    Parameters
    ----------
    links
        Positions of the parents, ``(n_target, n)``, −1 for none, as :func:`cis_links` returns them.
    """

    links: torch.Tensor

    def __init__(self, links: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("links", links)
        self.weight = nn.Parameter(torch.zeros(links.shape))

    def forward(self, parents: torch.Tensor) -> torch.Tensor:
        """Contribution of the parents.

        Parameters
        ----------
        parents
            Standardised values of the other layer, ``(…, n_source)``.

        Returns
        -------
        ``(…, n_target)``; 0 for a feature without parents.
        """
        weight = torch.where(self.links >= 0, self.weight, 0.0)
        return (parents[..., self.links.clamp(min=0)] * weight).sum(dim=-1)
