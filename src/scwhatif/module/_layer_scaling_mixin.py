"""Between the units of the data, the scale on which layers are standardised, and what a likelihood takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scwhatif.nn._masked_likelihood import LayerLikelihood

_MIN_SCALE = 1e-6


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a sample, in the order of the flow.

    Attributes
    ----------
    name
        Name of the layer.
    n_features
        Number of features.
    likelihood
        ``"normal"``, ``"student"``, ``"nb"`` or ``"bernoulli"``.
    """

    name: str
    n_features: int
    likelihood: LayerLikelihood = "normal"


class LayerScalingMixin(nn.Module):
    """Keeps the layers of a module side by side, and the mean and scale of every feature in its buffers."""

    location: torch.Tensor
    scale: torch.Tensor
    base: torch.Tensor
    median_total: torch.Tensor
    initialized: torch.Tensor

    def register_layers(self, layers: Sequence[LayerSpec]) -> None:
        """Lay out the columns and make the buffers; call it first in ``__init__``.

        Parameters
        ----------
        layers
            The layers.
        """
        self.layers = list(layers)
        self.names = [layer.name for layer in layers]
        ends = torch.tensor([layer.n_features for layer in layers]).cumsum(0).tolist()
        self.columns = {layer.name: slice(end - layer.n_features, end) for layer, end in zip(layers, ends, strict=True)}
        self.n_features = ends[-1]
        self.register_buffer("initialized", torch.tensor(data=False))
        # of the transformed values of the training rows
        self.register_buffer("location", torch.zeros(self.n_features))
        self.register_buffer("scale", torch.ones(self.n_features))
        # log rate or logit of the average training row
        self.register_buffer("base", torch.zeros(self.n_features))
        # median total count of each layer of counts
        self.register_buffer("median_total", torch.ones(len(self.layers)))

    @torch.no_grad()
    def initialize(self, x: torch.Tensor, observed: torch.Tensor, codes: torch.Tensor | None = None) -> None:
        """Learn the scale of every feature from the training rows, once.

        Parameters
        ----------
        x, observed, codes
            The training rows, as in a batch; covariates do not matter here.
        """
        for i, layer in enumerate(self.layers):
            if layer.likelihood == "nb":
                columns = self.columns[layer.name]
                totals = torch.where(observed[:, columns], x[:, columns], 0.0).sum(dim=1)
                rows = observed[:, columns].any(dim=1)
                self.median_total[i] = totals[rows].median().clamp(min=1.0) if rows.any() else 1.0
        values = torch.where(observed, self.transform(x, observed), 0.0).double()
        n = observed.sum(dim=0).clamp(min=1)
        mean = values.sum(dim=0) / n
        deviation = torch.where(observed, values - mean, 0.0)
        scale = (deviation.square().sum(dim=0) / n).sqrt()
        self.location.copy_(mean)
        self.scale.copy_(torch.where(scale > _MIN_SCALE, scale, 1.0))
        for layer in self.layers:
            columns = self.columns[layer.name]
            average = self.location[columns]
            if layer.likelihood == "nb":
                self.base[columns] = average.expm1().clamp(min=1e-2).log()
            elif layer.likelihood == "bernoulli":
                share = average.clamp(0.01, 0.99)
                self.base[columns] = torch.log(share / (1 - share))
        self.initialized.fill_(value=True)

    def transform(self, x: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Values on the scale on which they are standardised: counts as log1p at the median total, others as is.

        Parameters
        ----------
        x, observed
            As in a batch.

        Returns
        -------
        Shape of ``x``.
        """
        if all(layer.likelihood != "nb" for layer in self.layers):
            return x
        result = x.clone()
        for i, layer in enumerate(self.layers):
            if layer.likelihood == "nb":
                columns = self.columns[layer.name]
                relative = x[:, columns] * torch.exp(-self._log_exposure(i, x, observed))
                result[:, columns] = torch.where(observed[:, columns], relative, 0.0).log1p()
        return result

    def standardize(self, x: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Standardised values; 0 where nothing was measured, which only ever stands beside its mask.

        Parameters
        ----------
        x, observed
            As in a batch.

        Returns
        -------
        Shape of ``x``.
        """
        return torch.where(observed, (self.transform(x, observed) - self.location) / self.scale, 0.0)

    def location_of(self, layer: int, decoded: torch.Tensor, x: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """What the likelihood of a layer takes as its location.

        Parameters
        ----------
        layer
            Position of the layer.
        decoded
            Its standardised location.
        x, observed
            As in a batch; counts are scaled by their total.

        Returns
        -------
        Shape of ``decoded``.
        """
        spec = self.layers[layer]
        columns = self.columns[spec.name]
        if spec.likelihood == "nb":
            return self._log_exposure(layer, x, observed) + self.base[columns] + self.scale[columns] * decoded
        return self.base[columns] + decoded if spec.likelihood == "bernoulli" else decoded

    def to_standardized(self, name: str, decoded: torch.Tensor) -> torch.Tensor:
        """Decoded layer on the scale on which its data are standardised.

        Parameters
        ----------
        name
            Name of the layer.
        decoded
            What :meth:`generative` returns for it, ``(…, n_features)``.

        Returns
        -------
        Same shape.
        """
        columns = self.columns[name]
        likelihood = self.layers[self.names.index(name)].likelihood
        if likelihood in ("normal", "student"):
            return decoded
        if likelihood == "nb":
            value = (self.base[columns] + self.scale[columns] * decoded).exp().log1p()
        else:
            value = torch.sigmoid(self.base[columns] + decoded)
        return (value - self.location[columns]) / self.scale[columns]

    def to_units(self, name: str, standardized: torch.Tensor) -> torch.Tensor:
        """Standardised values in the units of the data: counts at the median total, probabilities for binary layers.

        Parameters
        ----------
        name
            Name of the layer.
        standardized
            Standardised values, ``(…, n_features)``.

        Returns
        -------
        Same shape.
        """
        columns = self.columns[name]
        likelihood = self.layers[self.names.index(name)].likelihood
        value = self.location[columns] + self.scale[columns] * standardized
        if likelihood == "nb":
            return value.expm1().clamp(min=0.0)
        return value.clamp(0.0, 1.0) if likelihood == "bernoulli" else value

    def _log_exposure(self, layer: int, x: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        columns = self.columns[self.names[layer]]
        total = torch.where(observed[:, columns], x[:, columns], 0.0).sum(dim=1, keepdim=True)
        return (total.clamp(min=1.0) / self.median_total[layer]).log()
