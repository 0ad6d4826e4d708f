"""An encoder seen through one number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from scwhatif.engine._encoder_plan import CellStates, EncoderPlan
from scwhatif.engine._readout import LinearReadout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from scipy import sparse

    from scwhatif.engine._fused_tail import FusedTail
    from scwhatif.engine._pair_edits import PairEdits
    from scwhatif.engine._readout import Readout


class ReadoutPlan(EncoderPlan):
    """A plan whose latent code is a readout of the posterior mean, with variance 1.

    In a :class:`Screen`, ``shift`` is then the sum of the change of the readout, and ``distance`` that of its absolute
    value. A linear readout is still one compiled loop where the encoder is.

    Parameters
    ----------
    plan
        The encoder.
    readout
        What is read, in the axes that the model reports.
    """

    def __init__(self, plan: EncoderPlan, readout: Readout) -> None:
        self.plan = plan
        self.readout = readout
        self.axes = plan.to_reported_axes(np.eye(plan.n_latent))
        self.n_features = plan.n_features
        self.n_latent = 1
        self.device = plan.device
        self.signed = plan.signed

    @property
    def kind(self) -> Literal["row-update", "general"]:  # type: ignore[override]
        """Of the encoder."""
        return self.plan.kind

    @property
    def weight_norm(self) -> NDArray[np.float64] | None:
        """Of the encoder, see :attr:`EncoderPlan.weight_norm`."""
        return self.plan.weight_norm

    @property
    def fused(self) -> FusedTail | None:
        """The plan for one compiled loop, ``None`` where encoder or readout do not fit one."""
        tail = self.plan.fused
        if tail is None or not isinstance(self.readout, LinearReadout):
            return None
        vector = self.axes @ self.readout.vector
        n_latent = self.plan.n_latent
        head = np.zeros((len(tail.head), 2), np.float32)
        head[:, 0] = tail.head[:, :n_latent] @ vector
        bias = np.array([tail.head_bias[:n_latent] @ vector + self.readout.offset, 0.0], np.float32)
        return replace(tail, head=head, head_bias=bias, var_eps=0.0, lower=-np.inf, upper=np.inf)

    def cells(
        self,
        x: NDArray[Any] | sparse.csr_matrix,
        fields: Mapping[str, NDArray[Any]],
        *,
        scale_range: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    ) -> CellStates:
        """Encode whole cells.

        Parameters
        ----------
        x, fields, scale_range
            As for :meth:`EncoderPlan.cells`.

        Returns
        -------
        What the encoder makes of them, with the readout in place of its latent code.
        """
        states = self.plan.cells(x, fields, scale_range=scale_range)
        mean, var = self._read(states.mean)
        return replace(states, mean=mean, var=var)

    def edited(self, states: CellStates, pairs: PairEdits) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode cells after an edit.

        Parameters
        ----------
        states, pairs
            As for :meth:`EncoderPlan.edited`.

        Returns
        -------
        Readout of each pair and variance 1, ``(n_pairs, 1)`` each.
        """
        return self._read(self.plan.edited(states, pairs)[0])

    def input_change(self, pairs: PairEdits) -> NDArray[np.float32]:
        """Of the encoder, see :meth:`EncoderPlan.input_change`.

        Parameters
        ----------
        pairs
            What to change.

        Returns
        -------
        ``(n_entries,)``.
        """
        return self.plan.input_change(pairs)

    @torch.inference_mode()
    def _read(self, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        axes = torch.as_tensor(self.axes, dtype=mean.dtype, device=mean.device)
        value = self.readout(mean @ axes).unsqueeze(1)
        return value, torch.ones_like(value)
