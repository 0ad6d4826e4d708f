"""How the energy of a cell line acts on the score of a pair."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import softplus

Interaction = Literal["scalar", "channels", "linear", "none"]
# softplus(t) = 1; at t = 0 it is 0.693
_UNIT_TEMPERATURE = math.log(math.e - 1.0)
_QUIET_BIAS = -4.0


class EnergyInteraction(nn.Module):
    r"""Logit of a pair from its score :math:`U` and the environment code :math:`z_E` of its cell line.

    - ``"scalar"``: :math:`(U - R + \lambda U R) / T` with one energy :math:`R = \mathrm{softplus}(g(z_E)) \ge 0` per
      line. It is affine in :math:`U`, so it changes the calibration of a line and, while :math:`1 + \lambda R > 0`,
      never the order of its pairs.
    - ``"channels"``: :math:`\sum_k (U_k - R_k + \lambda_k U_k R_k) / T`, which can change the order.
    - ``"linear"``: :math:`(U (1 + \lambda_U^\top z_E) + \lambda_R^\top z_E) / T`, without the bound on the energy.
    - ``"none"``: :math:`U / T`, no environment at all.

    :math:`\lambda > 0` raises the gain on :math:`|U - 1/\lambda|`: it makes a pair with :math:`U > 0` more likely and
    one with :math:`U < 0` less.

    Parameters
    ----------
    kind
        The form.
    n_environment
        Dimensions of :math:`z_E`.
    n_channels
        Number of channels; 1 unless ``kind`` is ``"channels"``.
    lambda_init
        Initial :math:`\lambda`.
    t_init
        Initial value of :math:`t` in :math:`T = \mathrm{softplus}(t)`; ``None`` is :math:`\ln(e - 1)`, :math:`T = 1`.
    temperature
        ``"scalar"``: one :math:`T`; ``"line"``: :math:`T = \mathrm{softplus}(t + w^\top z_E)`.
    temperature_range
        Bounds to which :math:`T` is clamped, ``None`` for none.
    """

    def __init__(
        self,
        kind: Interaction = "scalar",
        *,
        n_environment: int = 16,
        n_channels: int = 1,
        lambda_init: float = 0.1,
        t_init: float | None = None,
        temperature: Literal["scalar", "line"] = "scalar",
        temperature_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.n_channels = n_channels if kind == "channels" else 1
        self.temperature_range = temperature_range
        self.t = nn.Parameter(torch.tensor(_UNIT_TEMPERATURE if t_init is None else float(t_init)))
        self.line_temperature = nn.Linear(n_environment, 1, bias=False) if temperature == "line" else None
        if self.line_temperature is not None:
            nn.init.zeros_(self.line_temperature.weight)
        if kind in ("scalar", "channels"):
            self.coupling = nn.Parameter(torch.full((self.n_channels,), float(lambda_init)))
            self.energy_head = nn.Linear(n_environment, self.n_channels)
            nn.init.constant_(self.energy_head.bias, _QUIET_BIAS)
        elif kind == "linear":
            self.slope = nn.Linear(n_environment, 1, bias=False)
            self.shift = nn.Linear(n_environment, 1, bias=False)
            nn.init.zeros_(self.slope.weight)
            nn.init.zeros_(self.shift.weight)

    def temperature(self, environment: torch.Tensor | None = None) -> torch.Tensor:
        """Temperature, positive.

        Parameters
        ----------
        environment
            Environment codes, ``(n_rows, n_environment)``; needed only where the temperature differs by line.

        Returns
        -------
        A scalar, or ``(n_rows, 1)`` where it differs by line.
        """
        t = self.t
        if self.line_temperature is not None and environment is not None:
            t = t + self.line_temperature(environment)
        value = softplus(t)
        return value if self.temperature_range is None else value.clamp(*self.temperature_range)

    def energy(self, environment: torch.Tensor) -> torch.Tensor:
        """Energies of environments.

        Parameters
        ----------
        environment
            Environment codes, ``(n_rows, n_environment)``.

        Returns
        -------
        ``(n_rows, n_channels)``, not negative; for ``"linear"``, minus the shift, of either sign; 0 for ``"none"``.
        """
        if self.kind == "none":
            return environment.new_zeros(len(environment), 1)
        if self.kind == "linear":
            return -self.shift(environment)
        return softplus(self.energy_head(environment))

    def gain(self, environment: torch.Tensor) -> torch.Tensor:
        r"""Factor on the score before the temperature, :math:`1 + \lambda R`.

        Parameters
        ----------
        environment
            Environment codes, ``(n_rows, n_environment)``.

        Returns
        -------
        ``(n_rows, n_channels)``; the order of the pairs of a line turns around where it is negative.
        """
        if self.kind == "none":
            return environment.new_ones(len(environment), 1)
        if self.kind == "linear":
            return 1.0 + self.slope(environment)
        return 1.0 + self.coupling * self.energy(environment)

    def forward(self, score: torch.Tensor, environment: torch.Tensor | None = None) -> torch.Tensor:
        """Logit, never a probability.

        Parameters
        ----------
        score
            :math:`U`, ``(n_rows, n_channels)``.
        environment
            Environment code of the line of every row, ``(n_rows, n_environment)``; ``None`` switches the energy off,
            as in the warm-up: ``score / temperature``.

        Returns
        -------
        ``(n_rows,)``.
        """
        if environment is None:
            return score.sum(-1) / self.temperature()
        total = (score * self.gain(environment) - self.energy(environment)).sum(-1, keepdim=True)
        return (total / self.temperature(environment)).squeeze(-1)
