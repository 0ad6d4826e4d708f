"""What everything but the features adds to the first layer of an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi import REGISTRY_KEYS
from torch import nn

from scwhatif._compat import infer
from scwhatif.engine._module_snapshot import module_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set

    from numpy.typing import NDArray


class CovariateTap:
    """Runs a module's own inference up to its first layer, on covariates alone.

    One-hot codes, embeddings, proteins and their transforms need no second implementation, and the features cost
    nothing: the copy of the module that runs has none, and ends after the first layer.

    Parameters
    ----------
    module
        The module.
    first, then
        First layer, which sees the features and then maybe covariates, and the step after it.
    before
        Parts of the module that run before ``then``; the copy needs no others.
    n_features
        Number of features.
    fields, n_cells
        Other registered fields of some cells, and their number, to try it on.

    Raises
    ------
    RuntimeError
        Inference does not pass these layers.
    """

    def __init__(
        self,
        module: nn.Module,
        first: nn.Linear,
        then: nn.Module,
        *,
        before: Set[nn.Module],
        n_features: int,
        fields: Mapping[str, NDArray[Any]],
        n_cells: int,
    ) -> None:
        self._first = _WithoutFeatures(first, n_features)
        replaced: dict[nn.Module, nn.Module] = {part: nn.Identity() for part in _unused(module, {first, then, *before})}
        self._module = module_snapshot(module, replaced | {first: self._first, then: _Exit()})
        self._width = 0
        try:
            self(fields, n_cells)
        except RuntimeError:
            # some modules scale each feature by its own constant, and want all of them
            self._width = n_features
            self(fields, n_cells)

    def __call__(self, fields: Mapping[str, NDArray[Any]], n_cells: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Run it.

        Parameters
        ----------
        fields
            All registered fields but the features.
        n_cells
            Number of cells.

        Returns
        -------
        What the first layer returns for cells whose transformed features are 0, ``(n_cells, n_hidden)``, and the
        columns it takes beyond the features, ``(n_cells, n)``.
        """
        none = torch.zeros(()).expand(n_cells, self._width)
        try:
            infer(self._module, {REGISTRY_KEYS.X_KEY: none, **fields})
        except _Reached as reached:
            return reached.h, self._first.columns
        msg = f"the inference of {type(self._module).__name__} no longer passes the layer it is tapped at."
        raise RuntimeError(msg)


class _Reached(Exception):
    """Carries what was wanted out of a module that need not run any further."""

    def __init__(self, h: torch.Tensor) -> None:
        self.h = h


class _Exit(nn.Module):
    def forward(self, h: torch.Tensor) -> torch.Tensor:
        raise _Reached(h)


# A subclass of the layer it stands for, because scvi-tools appends covariates in front of linear layers only.
class _WithoutFeatures(nn.Linear):
    """A linear layer less its features, of which the columns of its input that remain may still be the first."""

    def __init__(self, layer: nn.Linear, n_features: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features - n_features, layer.out_features
        self.weight = nn.Parameter(layer.weight.detach()[:, n_features:].clone())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.columns = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.columns = x[:, x.shape[1] - self.in_features :]
        return super().forward(self.columns)


def _unused(module: nn.Module, needed: set[nn.Module]) -> Iterator[nn.Module]:
    """The largest parts that hold nothing needed; lists of parts and parameters stay, for they are not run but read."""
    for child in module.children():
        if needed.isdisjoint(child.modules()) and type(child).forward is not nn.Module.forward:
            yield child
        else:
            yield from _unused(child, needed)
