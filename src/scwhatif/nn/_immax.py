"""Margins for imbalanced classes: a logistic loss with one margin per class, and the probability it implies."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.functional import logsigmoid

_MOMENTUM = 0.9
_CLIP = 10.0
_BOUNDS = (0.01, 0.99)


def immax_probability(logit: torch.Tensor, rho_positive: torch.Tensor, rho_negative: torch.Tensor) -> torch.Tensor:
    r"""Probability of the positive class at which a logit minimises the IMMAX loss.

    .. math::
        \frac{\eta}{1 - \eta} = \frac{\sigma(h / \rho_-) / \rho_-}{\sigma(-h / \rho_+) / \rho_+}

    For :math:`\rho_+ = \rho_- = 1` this is :math:`\sigma(h)`; at :math:`h = 0` it is
    :math:`\rho_+ / (\rho_+ + \rho_-)`, not one half.

    Parameters
    ----------
    logit
        :math:`h`, any shape.
    rho_positive, rho_negative
        Margins of the classes, positive.

    Returns
    -------
    Probabilities, the shape of ``logit``; increasing in it.
    """
    log_odds = logsigmoid(logit / rho_negative) - rho_negative.log()
    log_odds = log_odds - logsigmoid(-logit / rho_positive) + rho_positive.log()
    return torch.sigmoid(log_odds)


class ImmaxLoss(nn.Module):
    r"""Imbalanced margin maximisation (Cortes, Mao, Mohri and Zhong 2025) with the logistic loss, on logits.

    .. math::
        \frac{1}{m} \Big[ \sum_{y=1} \Psi(h / \rho_+) + \sum_{y=0} \Psi(-h / \rho_-) \Big],
        \qquad \Psi(u) = \log(1 + e^{-u}), \qquad \rho_+ + \rho_- = 2

    A plain mean over rows: no class is weighted, only the margins differ. :math:`\rho_+ = \rho_- = 1` is binary
    cross-entropy. A logit fitted this way is no log-odds; :meth:`probability` turns it into a probability.

    Parameters
    ----------
    mode
        ``"theory"``: :math:`\rho_k \propto m_k^{1/3} r_k^{2/3}` with the numbers :math:`m_k` of training rows and a
        moving average of the root mean square norm :math:`r_k` of the codes of a class; ``"adaptive"``:
        :math:`\rho_+ / 2` follows a moving average of
        :math:`\sqrt{S_+} / (\sqrt{S_+} + \sqrt{S_-})`, :math:`S_k = \sum |h \Psi'(h / \rho_k)|`; ``"fixed"``:
        ``rho_positive`` stays.
    rho_positive
        Initial margin of the positives, between 0 and 2; that of the negatives is the rest.

    Raises
    ------
    ValueError
        ``mode`` is unknown or ``rho_positive`` is not between 0 and 2.
    """

    rho: torch.Tensor
    counts: torch.Tensor
    radii: torch.Tensor

    def __init__(self, mode: Literal["theory", "adaptive", "fixed"] = "theory", *, rho_positive: float = 1.0) -> None:
        super().__init__()
        if mode not in ("theory", "adaptive", "fixed"):
            msg = f"mode={mode!r} is not one of 'theory', 'adaptive', 'fixed'."
            raise ValueError(msg)
        if not 0 < rho_positive < 2:
            msg = f"rho_positive={rho_positive} must be between 0 and 2, which is the sum of both margins."
            raise ValueError(msg)
        self.mode = mode
        # negatives first, as in the labels
        self.register_buffer("rho", torch.tensor([2.0 - rho_positive, rho_positive]))
        self.register_buffer("counts", torch.zeros(2))
        self.register_buffer("radii", torch.zeros(2))

    @torch.no_grad()
    def set_counts(self, n_negative: int, n_positive: int) -> None:
        """Say how many training rows each class has; ``"theory"`` needs it.

        Parameters
        ----------
        n_negative, n_positive
            Numbers of rows.
        """
        self.counts.copy_(self.counts.new_tensor([float(n_negative), float(n_positive)]))
        if self.mode == "theory":
            self._from_theory()

    @torch.no_grad()
    def update(self, logit: torch.Tensor, label: torch.Tensor, code: torch.Tensor | None = None) -> None:
        """Move the margins after a training step; a batch of one class leaves them as they are.

        Parameters
        ----------
        logit, label
            Logits and labels (0 or 1) of the batch, ``(n_rows,)``.
        code
            Codes from which the logits come, ``(n_rows, n_latent)``; ``None`` takes the classes to be equally wide.
        """
        positive = label > 0.5
        if self.mode == "fixed" or not bool(positive.any()) or bool(positive.all()):
            return
        if self.mode == "theory":
            if code is not None:
                squares = code.square().sum(-1)
                radii = torch.stack([squares[~positive].mean(), squares[positive].mean()]).sqrt()
                seen = bool((self.radii > 0).all())
                self.radii.copy_(_MOMENTUM * self.radii + (1 - _MOMENTUM) * radii if seen else radii)
                self._from_theory()
            return
        margin = torch.where(positive, logit, -logit).clamp(-_CLIP, _CLIP)
        slope = torch.sigmoid(-margin / torch.where(positive, self.rho[1], self.rho[0]))
        pull = (margin * slope).abs()
        pulls = torch.stack([pull[~positive].sum(), pull[positive].sum()]).sqrt()
        share = (pulls[1] / pulls.sum().clamp(min=1e-12)).clamp(*_BOUNDS)
        share = _MOMENTUM * self.rho[1] / 2 + (1 - _MOMENTUM) * share
        self.rho.copy_(torch.stack([2 * (1 - share), 2 * share]))

    def _from_theory(self) -> None:
        if not bool((self.counts > 0).all()):
            return
        radii = self.radii if bool((self.radii > 0).all()) else torch.ones_like(self.radii)
        size = self.counts ** (1 / 3) * radii ** (2 / 3)
        self.rho.copy_(2 * size / size.sum())

    def forward(self, logit: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Mean loss.

        Parameters
        ----------
        logit, label
            Logits and labels (0 or 1), ``(n_rows,)``.

        Returns
        -------
        Scalar; 0 for no rows.
        """
        if not len(logit):
            return logit.sum()
        # a copy: the margins move before the backward pass
        rho = self.rho.clone()
        scaled = torch.where(label > 0.5, logit / rho[1], -logit / rho[0])
        return -logsigmoid(scaled).mean()

    def probability(self, logit: torch.Tensor) -> torch.Tensor:
        """Probability of the positive class, by :func:`scwhatif.nn.immax_probability`.

        Parameters
        ----------
        logit
            Logits, any shape.

        Returns
        -------
        Probabilities, same shape.
        """
        return immax_probability(logit, self.rho[1], self.rho[0])
