"""How far modified sites are from a reference once their parent proteins are accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIN_ROWS = 10
_MIN_REFERENCE = 3
_TINY = 1e-6


@dataclass(frozen=True)
class LayerValues:
    """One layer of some samples.

    Attributes
    ----------
    values
        Standardised, ``(n_rows, n_features)``; anything where not measured.
    observed
        Whether they were measured, bool, same shape.
    """

    values: torch.Tensor
    observed: torch.Tensor

    @classmethod
    def whole(cls, values: torch.Tensor) -> LayerValues:
        """Of values that are all there, such as decoded ones."""
        return cls(values, torch.ones_like(values, dtype=torch.bool))


@dataclass(frozen=True)
class SiteScale:
    """What the sites of one layer are measured against.

    Attributes
    ----------
    parents
        Positions of the proteins of the same gene, ``(n_sites, n)``, −1 for none.
    slope, intercept
        Of the regression of every site on the mean of its parents; without parents the slope is 0.
    center, spread
        Mean and standard deviation of the residual in the reference.
    usable
        Which sites vary in the reference, bool.
    """

    parents: torch.Tensor
    slope: torch.Tensor
    intercept: torch.Tensor
    center: torch.Tensor
    spread: torch.Tensor
    usable: torch.Tensor

    def deviations(self, sites: LayerValues, protein: LayerValues | None) -> LayerValues:
        """Residuals in units of their spread in the reference.

        Parameters
        ----------
        sites
            The layer.
        protein
            The layer of the parents, or ``None`` if there is none.

        Returns
        -------
        Those of the usable sites; not measured where a site or all of its parents were not.
        """
        residual, known = _residual(sites, protein, self.parents, self.slope, self.intercept)
        u = (residual - self.center) / torch.where(self.usable, self.spread, 1.0)
        return LayerValues(u[:, self.usable], known[:, self.usable])


def fit_site_scale(
    sites: LayerValues, protein: LayerValues | None, parents: torch.Tensor | None, reference: torch.Tensor
) -> SiteScale:
    """Regress sites on their parents, and find centre and spread of what is left in the reference.

    Parameters
    ----------
    sites, protein
        Layers of the training samples.
    parents
        Positions of the parents of every site, ``(n_sites, n)``, −1 for none.
    reference
        Which training samples are the reference, bool.

    Returns
    -------
    The scale. Sites with fewer than ten samples for the regression are only centred.
    """
    n_sites = sites.values.shape[1]
    if protein is None or parents is None:
        protein, parents = None, torch.full((n_sites, 1), -1, device=sites.values.device)
    values, observed = sites.values.double(), sites.observed
    slope = values.new_zeros(n_sites)
    if protein is not None:
        parent, there = parent_mean(protein, parents)
        both = observed & there
        n = both.sum(dim=0).clamp(min=1)
        x = torch.where(both, parent.double() - _mean(parent.double(), both), 0.0)
        y = torch.where(both, values - _mean(values, both), 0.0)
        variance = x.square().sum(dim=0)
        enough = (n >= _MIN_ROWS) & (variance > _TINY * n)
        slope = torch.where(enough, (x * y).sum(dim=0) / torch.where(enough, variance, 1.0), 0.0)
    residual, known = _residual(sites, protein, parents, slope, values.new_zeros(n_sites))
    intercept = _mean(residual, known)
    residual = residual - intercept
    inside = known & reference[:, None]
    center = _mean(residual, inside)
    n_inside = inside.sum(dim=0)
    squares = torch.where(inside, residual - center, 0.0).square().sum(dim=0)
    spread = (squares / (n_inside - 1).clamp(min=1)).sqrt()
    return SiteScale(parents, slope, intercept, center, spread, (n_inside >= _MIN_REFERENCE) & (spread > _TINY))


def parent_mean(protein: LayerValues, parents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over the measured parents of every site.

    Parameters
    ----------
    protein
        The layer of the parents.
    parents
        Positions, ``(n_sites, n)``, −1 for none.

    Returns
    -------
    The mean, 0 where there is no parent, and whether there is one, each ``(n_rows, n_sites)``.
    """
    at = parents.clamp(min=0)
    there = protein.observed[:, at] & (parents >= 0)
    total = torch.where(there, protein.values[:, at], 0.0).sum(dim=-1)
    return total / there.sum(dim=-1).clamp(min=1), there.any(dim=-1)


def layer_storms(deviations: Sequence[LayerValues]) -> torch.Tensor:
    r"""Root mean square deviation of every layer, :math:`\sqrt{\mathrm{mean}_j u_{kj}^2}`.

    Parameters
    ----------
    deviations
        Of each layer.

    Returns
    -------
    ``(n_rows, n_layers)``, NaN where a layer was not measured; the storm is their mean.
    """
    found = []
    for each in deviations:
        n = each.observed.sum(dim=1)
        squares = torch.where(each.observed, each.values, 0.0).square().sum(dim=1)
        # the root has no slope at 0
        root = (squares / n.clamp(min=1)).clamp(min=_TINY**2).sqrt()
        found.append(torch.where(n > 0, root, torch.nan))
    return torch.stack(found, dim=1)


def _residual(
    sites: LayerValues, protein: LayerValues | None, parents: torch.Tensor, slope: torch.Tensor, intercept: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    residual, known = sites.values.double() - intercept, sites.observed
    if protein is not None:
        parent, there = parent_mean(protein, parents)
        residual, known = residual - slope * parent.double(), known & (there | (slope == 0))
    return residual, known


def _mean(values: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    return torch.where(used, values, 0.0).sum(dim=0) / used.sum(dim=0).clamp(min=1)
