"""An encoder taken apart, so that the change of one feature costs one row of its first layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from scipy import sparse

from scwhatif.engine._encoder_plan import CellStates, EncoderPlan
from scwhatif.engine._weighted_rows import weighted_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from scwhatif.engine._encoder_tail import EncoderTail
    from scwhatif.engine._feature_transform import FeatureTransform
    from scwhatif.engine._fused_tail import FusedTail
    from scwhatif.engine._pair_edits import PairEdits

# Share of non-zero values above which a dense product is faster than a sparse one.
_DENSE = 1 / 3
# Interpolation error in units of what is interpolated: that of float32.
_PRECISION = 1e-7
# Where the encoder itself divides by a cell's size: how far the size may move, as a factor, before interpolation
# gives way to the direct, slower evaluation.
_SIZE_CHANGE = 2.0


@dataclass(frozen=True, eq=False)
class _Rescaled:
    """The first layer as a function of what the cell is multiplied by, as a logarithm.

    Parameters
    ----------
    offset
        What covariates add, ``(n_cells, n_hidden)``.
    total
        Of each cell, ``(n_cells,)``, where the encoder divides by it.
    nodes
        The function at Chebyshev nodes, ``(n_cells * n_nodes, n_hidden)``, cell by cell; ``None`` if there are none.
    center, half_width
        Of the interval the nodes lie in, ``(n_cells,)`` and one for all.
    """

    offset: torch.Tensor
    total: NDArray[np.float64]
    nodes: torch.Tensor | None
    center: NDArray[np.float64]
    half_width: float


class RowUpdatePlan(EncoderPlan):
    r"""Encoder of the form ``tail(t(x) @ weight + covariates)``, with ``t`` acting on each feature alone.

    When feature :math:`g` of cell :math:`c` goes from :math:`x` to :math:`x'`, what enters the first non-linearity
    moves along one row of the weight,

    .. math:: h' = h_c + \big(t_g(x') - t_g(x)\big) W_{g\cdot}

    so re-encoding a (cell, feature) pair needs no other feature, and a pair with :math:`x' = x` needs nothing. This
    is exact, not a linearisation. Where an edit rescales the whole cell by :math:`e^u`, :math:`h` of the cell is
    interpolated in :math:`u` between Chebyshev nodes, to the precision of float32.

    Parameters
    ----------
    weight
        First layer, ``(n_features, n_hidden)``, one contiguous row per feature, batch normalisation folded in.
    covariates
        What is added from the other fields before the batch normalisation (see :class:`CovariateTap`).
    normalisation
        Factor and addend that the batch normalisation applies per hidden unit, ``None`` for none.
    tail
        What follows.
    transform
        What is done to features first.
    rotation
        Columns are the axes the model reports its latent code in. ``None`` if they are those of the encoder.
    signed
        Whether values may be below 0.
    """

    kind: ClassVar[Literal["row-update", "general"]] = "row-update"

    def __init__(
        self,
        weight: torch.Tensor,
        covariates: Callable[[Mapping[str, NDArray[Any]], int], tuple[torch.Tensor, torch.Tensor]],
        normalisation: tuple[torch.Tensor, torch.Tensor] | None,
        *,
        tail: EncoderTail,
        transform: FeatureTransform,
        rotation: torch.Tensor | None = None,
        signed: bool = False,
    ) -> None:
        self.weight = weight
        self.covariates = covariates
        self.normalisation = normalisation
        self.tail = tail
        self.transform = transform
        self.rotation = rotation
        self.signed = signed
        self.n_features = weight.shape[0]
        self.n_latent = tail.n_latent
        self.device = weight.device

    @property
    def weight_norm(self) -> NDArray[np.float64]:
        """Length of each feature's first-layer weights, per unit of the (transformed) feature, ``(n_features,)``."""
        norm = self.weight.double().norm(dim=1).cpu().numpy()
        return norm if self.transform.scale is None else norm / self.transform.scale

    @property
    def fused(self) -> FusedTail | None:
        """The plan for one compiled loop, ``None`` where it does not fit one."""
        # dividing by the cell's own size moves every feature
        return None if self.transform.by_mean else self.tail.fused(self.weight)

    def to_reported_axes(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differences of posterior means in the axes the model reports.

        Parameters
        ----------
        shift
            In the plan's axes, ``(..., n_latent)``.

        Returns
        -------
        Same shape.
        """
        return shift if self.rotation is None else shift @ self.rotation.double().cpu().numpy()

    @torch.inference_mode()
    def cells(
        self,
        x: NDArray[Any] | sparse.csr_matrix,
        fields: Mapping[str, NDArray[Any]],
        *,
        scale_range: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    ) -> CellStates:
        """Encode whole cells, see :meth:`EncoderPlan.cells`."""
        offset, columns = self.covariates(fields, x.shape[0])
        if self.normalisation is not None:
            offset = offset * self.normalisation[0] + self.normalisation[1]
        x = _rows(x)
        # only an encoder that divides by it wants to know
        total = np.asarray(x.sum(axis=1, dtype=np.float64)).ravel() if self.transform.by_mean else np.zeros(x.shape[0])
        own = self.transform.log_factor(total, self.n_features) if self.transform.by_mean else None
        hidden = self._first_layer(x, own) + offset
        injected = self.tail.inject(columns)
        mean, var = self.tail(hidden.clone(), injected)
        center, half_width, nodes = self._nodes(x, total, offset, scale_range)
        rescaled = _Rescaled(offset, total, nodes, center, half_width)
        return CellStates(mean, var, hidden=hidden, injected=injected, x=x, fields=fields, scaled=rescaled)

    @torch.inference_mode()
    def edited(self, states: CellStates, pairs: PairEdits) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode cells after an edit, see :meth:`EncoderPlan.edited`."""
        rows = torch.from_numpy(pairs.rows).to(self.device)
        if self.transform.by_mean or pairs.log_scale is not None:
            log_factor = self._log_factor(states.scaled, pairs)
            start = self._rescaled(states, pairs.rows, log_factor)
            log_factor = log_factor[pairs.pair_of_entry]
            change = self.transform.change(pairs.before, pairs.after, pairs.features, log_factor)
        else:
            start, change = states.hidden.index_select(0, rows), self.input_change(pairs)  # type: ignore[union-attr]
        moved = weighted_rows(self.weight, pairs.features, pairs.offsets, torch.from_numpy(change)).add_(start)
        return self.tail(moved, [each.index_select(0, rows) for each in states.injected])

    def input_change(self, pairs: PairEdits) -> NDArray[np.float32]:
        """How far each entry moves what enters the first layer, if the cell is not rescaled as a whole.

        Parameters
        ----------
        pairs
            What to change.

        Returns
        -------
        ``(n_entries,)``: ``hidden`` moves by this times the feature's row of the weight.
        """
        return self.transform.change(pairs.before, pairs.after, pairs.features)

    def _first_layer(self, x: Any, log_factor: NDArray[np.float64] | None) -> torch.Tensor:
        """Transformed features of cells multiplied by a factor each, times the weight."""
        if sparse.issparse(x) and (self.transform.center is not None or x.nnz > _DENSE * x.shape[0] * x.shape[1]):
            x = x.toarray()
        if not sparse.issparse(x):
            values = _tensor(x).to(self.device)
            factor = None if log_factor is None else torch.from_numpy(log_factor).to(self.device)
            return self.transform.cells(values, factor) @ self.weight
        # zeros stay zeros, so nothing needs to be densified
        data = _tensor(x.data)
        if log_factor is not None:
            data = data * torch.from_numpy(np.repeat(np.exp(log_factor), np.diff(x.indptr)).astype(np.float32))
        return weighted_rows(self.weight, x.indices, x.indptr, self.transform.elementwise(data))

    def _nodes(
        self,
        x: Any,
        total: NDArray[np.float64],
        offset: torch.Tensor,
        scale_range: tuple[NDArray[np.floating], NDArray[np.floating]] | None,
    ) -> tuple[NDArray[np.float64], float, torch.Tensor | None]:
        """Where a chunk is interpolated: centre of each cell, half width of all, values at the nodes."""
        if scale_range is None and not self.transform.by_mean:
            return np.zeros_like(total), 0.0, None
        low, high = (0.0, 0.0) if scale_range is None else scale_range
        lowest = self.transform.log_factor(total * _SIZE_CHANGE, self.n_features, low)
        highest = self.transform.log_factor(total / _SIZE_CHANGE, self.n_features, high)
        center = (lowest + highest) / 2
        half_width = max(float((highest - lowest).max(initial=0)) / 2, 1e-6)
        # log1p(e^u x) is analytic up to a distance of π from the real axis, which bounds the error by ratio ** -n
        ratio = math.pi / half_width + math.hypot(math.pi / half_width, 1)
        n_nodes = math.ceil(-math.log(_PRECISION) / math.log(ratio))
        values = [self._first_layer(x, center + half_width * node) + offset for node in _chebyshev(n_nodes)]
        return center, half_width, torch.stack(values, dim=1).flatten(0, 1)

    def _log_factor(self, rescaled: _Rescaled, pairs: PairEdits) -> NDArray[np.float64]:
        """What the cell of each pair is multiplied by before the first layer, after the edit."""
        gain = pairs.after.astype(np.float64) - pairs.before
        total = rescaled.total[pairs.rows] + np.bincount(pairs.pair_of_entry, gain, len(pairs))
        return self.transform.log_factor(total, self.n_features, 0.0 if pairs.log_scale is None else pairs.log_scale)

    def _rescaled(self, states: CellStates, rows: NDArray[np.int64], log_factor: NDArray[np.float64]) -> torch.Tensor:
        """``hidden`` of whole cells that are multiplied by a factor."""
        rescaled: _Rescaled = states.scaled
        if rescaled.nodes is None:
            return self._direct(states, rows, log_factor)
        position = (log_factor - rescaled.center[rows]) / rescaled.half_width
        inside = np.abs(position) <= 1 + 1e-9
        n_nodes = len(rescaled.nodes) // len(rescaled.center)
        near = rows[:, None] * n_nodes + np.arange(n_nodes)
        h = weighted_rows(
            rescaled.nodes,
            near.ravel(),
            np.arange(len(rows) + 1) * n_nodes,
            torch.from_numpy(_interpolation(position.clip(-1, 1), n_nodes).ravel().astype(np.float32)),
        )
        outside = np.flatnonzero(~inside)
        if len(outside):
            h[torch.from_numpy(outside).to(self.device)] = self._direct(states, rows[outside], log_factor[outside])
        return h

    def _direct(self, states: CellStates, rows: NDArray[np.int64], log_factor: NDArray[np.float64]) -> torch.Tensor:
        offset = states.scaled.offset.index_select(0, torch.from_numpy(rows).to(self.device))
        return self._first_layer(states.x[rows], log_factor) + offset


def _rows(x: Any) -> Any:
    return x.tocsr() if sparse.issparse(x) else x


def _tensor(values: Any) -> torch.Tensor:
    # torch wants to be able to write, which arrays shared between processes do not allow
    return torch.from_numpy(np.require(values, np.float32, "W"))


def _chebyshev(n_nodes: int) -> NDArray[np.float64]:
    return np.cos(np.pi * (np.arange(n_nodes) + 0.5) / n_nodes)


def _interpolation(position: NDArray[np.float64], n_nodes: int) -> NDArray[np.float64]:
    """Weight of each node in the polynomial through all of them, ``(n, n_nodes)``."""
    order = np.arange(n_nodes)
    at_nodes = np.cos(np.outer(order, np.pi * (np.arange(n_nodes) + 0.5) / n_nodes))
    at_nodes[0] /= 2
    return np.cos(np.arccos(position)[:, None] * order) @ at_nodes * (2 / n_nodes)
