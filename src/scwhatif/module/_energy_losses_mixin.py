"""Losses of the energy model's module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from scwhatif.nn import cell_line_contrast, cross_correlation, gradient_reversal, hsic, latent_sparsity

if TYPE_CHECKING:
    from collections.abc import Mapping

AUXILIARY = ("corr", "adversary", "contrast", "sparsity", "prototype")


class EnergyLossesMixin:
    """Loss of the task, its link to a probability, and the auxiliary losses."""

    immax: Any
    prototypes: Any
    adversary: Any
    n_lines: int
    reversal: float
    decouple: Literal["correlation", "hsic"]
    sparsity: Literal["l1", "l2"]
    contrast_temperature: float
    contrast_within_weight: float
    adversary_given_label: bool

    def task_loss(self, logit: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Mean loss of logits.

        Parameters
        ----------
        logit, label
            Logits and labels (0 or 1), ``(n_rows,)``.

        Returns
        -------
        Scalar; 0 for no rows.
        """
        if self.immax is not None:
            return self.immax(logit, label)
        return binary_cross_entropy_with_logits(logit, label) if len(logit) else logit.sum()

    def probability(self, logit: torch.Tensor) -> torch.Tensor:
        """Probability that belongs to a logit under the loss the module was trained with.

        Parameters
        ----------
        logit
            Logits, any shape.

        Returns
        -------
        Probabilities, same shape.
        """
        return torch.sigmoid(logit) if self.immax is None else self.immax.probability(logit)

    def auxiliary_losses(
        self,
        z: torch.Tensor,
        # may be None only where no loss that is on reads it
        e: Any,
        lines: torch.Tensor,
        label: torch.Tensor,
        support: torch.Tensor,
        *,
        weights: Mapping[str, float],
    ) -> dict[str, torch.Tensor]:
        """Losses beside that of the task, without their weights.

        Parameters
        ----------
        z, e
            Codes of pairs and of environments; the latter ``None`` where no environment is read.
        lines, label, support
            Cell line (code) and label of every row, and whether it is support.
        weights
            Weight of every loss; one of weight 0 is left out. That of the adversary is in its gradient already.

        Returns
        -------
        Loss by name.
        """
        parts: dict[str, torch.Tensor] = {}
        if weights["corr"]:
            parts["corr"] = cross_correlation(z, e) if self.decouple == "correlation" else hsic(z, e)
        if weights["adversary"]:
            parts["adversary"] = self._adversary(z, lines, label, weights["adversary"])
        if weights["contrast"]:
            parts["contrast"] = cell_line_contrast(e, lines, temperature=self.contrast_temperature)
            if self.contrast_within_weight:
                # support rows keep their labels to themselves here too
                groups = label.nan_to_num(-1.0).long().masked_fill(support, -1)
                within = cell_line_contrast(e, lines, temperature=self.contrast_temperature, groups=groups)
                parts["contrast"] = parts["contrast"] + self.contrast_within_weight * within
        if weights["sparsity"]:
            parts["sparsity"] = latent_sparsity(z, kind=self.sparsity)
            if e is not None:
                parts["sparsity"] = parts["sparsity"] + latent_sparsity(e, kind=self.sparsity)
        if weights["prototype"] and self.prototypes is not None:
            parts["prototype"] = self.prototypes(e, lines)
        return parts

    def _adversary(self, z: torch.Tensor, lines: torch.Tensor, label: torch.Tensor, weight: float) -> torch.Tensor:
        given = gradient_reversal(z, self.reversal * weight)
        if self.adversary_given_label:
            known = torch.stack([label == 0, label == 1], dim=1).to(given)
            given = torch.cat([given, known], dim=1)
        counts = torch.bincount(lines, minlength=self.n_lines)
        balance = torch.where(counts > 0, len(lines) / counts.clamp(min=1), torch.zeros_like(counts))
        return cross_entropy(self.adversary(given), lines, weight=balance.to(given))
