"""How a readout of the latent code depends on every feature of a cell, to first order and along a path."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scvi import REGISTRY_KEYS

from scwhatif._compat import infer
from scwhatif.engine._module_snapshot import module_snapshot
from scwhatif.engine._row_update_plan import RowUpdatePlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

    from scwhatif.engine._encoder_plan import EncoderPlan
    from scwhatif.engine._readout import Readout


class Attributions(NamedTuple):
    """What each feature adds to a readout on the way from a baseline to a cell.

    Parameters
    ----------
    values
        ``(n_cells, n_features)``, mean over baselines.
    difference
        Readout of the cell less that of the baseline, ``(n_cells,)``, mean over baselines: what the values of a cell
        add up to, but for the steps of the integral.
    """

    values: NDArray[np.float64]
    difference: NDArray[np.float64]


class ReadoutGradient(abc.ABC):
    """Differentiates a readout with respect to the features on the scale the encoder reads them.

    That scale is log1p of counts, or continuous features as they are. Everything is done at what the first layer
    returns where the encoder is taken apart, which moves along a straight line as features do: a step along a path
    then costs no product with the first layer.

    Parameters
    ----------
    readout
        What is differentiated.
    log1p
        Whether features enter as log1p.
    """

    def __init__(self, readout: Readout, *, log1p: bool) -> None:
        self.readout = readout
        self.log1p = log1p

    def scaled(self, x: NDArray[Any]) -> torch.Tensor:
        """Features on the scale of the derivative.

        Parameters
        ----------
        x
            Untransformed, ``(n, n_features)``.

        Returns
        -------
        float32, ``(n, n_features)``.
        """
        values = torch.as_tensor(np.asarray(x, dtype=np.float32))
        return values.log1p() if self.log1p else values

    def jacobian(self, x: NDArray[Any], fields: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Derivative of the readout at every cell.

        Parameters
        ----------
        x, fields
            As for :meth:`EncoderPlan.cells`, dense.

        Returns
        -------
        ``(n_cells, n_features)``: change of the readout per unit of a feature.
        """
        start, context = self._start(x, fields)
        return self._to_features(self._gradient(start, context)[1]).double().cpu().numpy()

    def path(
        self, x: NDArray[Any], fields: Mapping[str, NDArray[Any]], baselines: NDArray[Any], *, n_steps: int
    ) -> Attributions:
        """Integrated gradients :cite:p:`Sundararajan2017` from each baseline to each cell.

        By the midpoint rule: with the kinks of rectifiers on the way, no rule's error falls faster than the number of
        steps grows.

        Parameters
        ----------
        x, fields
            As for :meth:`EncoderPlan.cells`, dense. A baseline takes the fields of the cell.
        baselines
            Untransformed, ``(n_baselines, n_features)``.
        n_steps
            Points at which the gradient is taken on each path.

        Returns
        -------
        Attributions, averaged over baselines.
        """
        here, context = self._start(x, fields)
        u, u0 = self.scaled(x).to(here), self.scaled(baselines).to(here)
        end, origin = self._project(u), self._project(u0)
        remaining = 1 - (np.arange(n_steps) + 0.5) / n_steps
        value = self._gradient(here, context)[0].double()
        total = torch.zeros(u.shape, dtype=torch.float64, device=u.device)
        difference = torch.zeros(len(u), dtype=torch.float64, device=u.device)
        for i in range(len(u0)):
            way = end - origin[i]
            slope = torch.zeros_like(way)
            for share in remaining:
                slope += self._gradient(here - float(share) * way, context)[1]
            total += (u - u0[i]) * self._to_features(slope / n_steps)
            difference += value - self._gradient(here - way, context)[0]
        return Attributions((total / len(u0)).cpu().numpy(), (difference / len(u0)).cpu().numpy())

    @abc.abstractmethod
    def _start(self, x: NDArray[Any], fields: Mapping[str, NDArray[Any]]) -> tuple[torch.Tensor, Any]:
        """Where cells are, ``(n_cells, width)``, and what else their readout depends on."""

    @abc.abstractmethod
    def _project(self, u: torch.Tensor) -> torch.Tensor:
        """What features contribute to where a cell is, ``(n, width)``."""

    @abc.abstractmethod
    def _read(self, at: torch.Tensor, context: Any) -> torch.Tensor:
        """Readout of cells that are somewhere, differentiable."""

    @abc.abstractmethod
    def _to_features(self, slope: torch.Tensor) -> torch.Tensor:
        """From the derivative by where a cell is to that by its features."""

    def _gradient(self, at: torch.Tensor, context: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Readout, and its derivative by where cells are."""
        with torch.enable_grad():
            leaf = at.detach().clone().requires_grad_()
            value = self._read(leaf, context)
            slope = torch.autograd.grad(value.sum(), leaf)[0]
        return value.detach(), slope


def readout_gradient(plan: EncoderPlan, module: nn.Module, readout: Readout) -> ReadoutGradient:
    """Choose the cheapest way to differentiate.

    Parameters
    ----------
    plan
        From :func:`scwhatif.engine.encoder_plan`.
    module
        What it was made from.
    readout
        What is differentiated, in the axes that the model reports.

    Returns
    -------
    Something that differentiates.
    """
    if isinstance(plan, RowUpdatePlan) and not plan.transform.by_mean:
        return _FirstLayerGradient(plan, readout)
    return _ModuleGradient(module, readout, log1p=not plan.signed)


class _FirstLayerGradient(ReadoutGradient):
    """Of an encoder taken apart: everything is linear up to the first layer."""

    def __init__(self, plan: RowUpdatePlan, readout: Readout) -> None:
        super().__init__(readout, log1p=plan.transform.log1p)
        self.plan = plan
        self.weight = plan.weight
        if plan.transform.scale is not None:
            self.weight = self.weight / torch.as_tensor(plan.transform.scale).to(self.weight).unsqueeze(1)
        self.axes = torch.as_tensor(plan.to_reported_axes(np.eye(plan.n_latent))).to(self.weight)

    def _start(self, x: NDArray[Any], fields: Mapping[str, NDArray[Any]]) -> tuple[torch.Tensor, Any]:
        states = self.plan.cells(x, fields)
        # copies, because what comes from inference mode cannot take part in a gradient
        return states.hidden.clone(), [each.clone() for each in states.injected]  # type: ignore[union-attr]

    def _project(self, u: torch.Tensor) -> torch.Tensor:
        return u @ self.weight

    def _read(self, at: torch.Tensor, context: Any) -> torch.Tensor:
        # the tail may overwrite what it is given
        return self.readout(self.plan.tail(at.clone(), context)[0] @ self.axes)

    def _to_features(self, slope: torch.Tensor) -> torch.Tensor:
        return slope @ self.weight.T


class _ModuleGradient(ReadoutGradient):
    """Of any module, through its own inference."""

    def __init__(self, module: nn.Module, readout: Readout, *, log1p: bool) -> None:
        super().__init__(readout, log1p=log1p)
        self.module = module_snapshot(module)
        self.device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))

    def _start(self, x: NDArray[Any], fields: Mapping[str, NDArray[Any]]) -> tuple[torch.Tensor, Any]:
        return self.scaled(x).to(self.device), dict(fields)

    def _project(self, u: torch.Tensor) -> torch.Tensor:
        return u

    def _read(self, at: torch.Tensor, context: Any) -> torch.Tensor:
        x = at.expm1() if self.log1p else at
        return self.readout(infer(self.module, {REGISTRY_KEYS.X_KEY: x, **context}, differentiable=True)[0])

    def _to_features(self, slope: torch.Tensor) -> torch.Tensor:
        return slope
