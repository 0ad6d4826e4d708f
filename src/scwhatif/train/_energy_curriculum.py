"""When the losses of the energy model come in, and how fast they grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class EnergyCurriculum:
    r"""Warm-up without energy and auxiliary losses, then a ramp: :math:`\min(w_0 + s\,(\text{epoch} - w), c)`.

    Parameters
    ----------
    start
        Weight of every auxiliary loss after the warm-up; a loss with weight 0 stays off.
    caps
        Largest weights; those missing are twice the start.
    warmup_epochs
        Epochs in which only the pairs are learnt: no energy, no auxiliary loss.
    step
        What a weight grows by per epoch.
    """

    start: Mapping[str, float]
    caps: Mapping[str, float] | None = None
    warmup_epochs: int = 2
    step: float = 0.01

    def energy_on(self, epoch: int) -> bool:
        """Whether the energy takes part.

        Parameters
        ----------
        epoch
            Counted from 0.

        Returns
        -------
        False in the warm-up.
        """
        return epoch >= self.warmup_epochs

    def weights(self, epoch: int) -> dict[str, float]:
        """Weights of the auxiliary losses.

        Parameters
        ----------
        epoch
            Counted from 0.

        Returns
        -------
        Weight by name.
        """
        if not self.energy_on(epoch):
            return dict.fromkeys(self.start, 0.0)
        grown = self.step * (epoch - self.warmup_epochs)
        caps = self.caps or {}
        return {
            name: min(weight + grown, max(caps.get(name, 2 * weight), weight)) if weight else 0.0
            for name, weight in self.start.items()
        }
