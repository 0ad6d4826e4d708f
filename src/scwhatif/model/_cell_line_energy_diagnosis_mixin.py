"""Which limit a training of :class:`scwhatif.model.CellLineEnergyModel` ran into, and what helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

_GAIN = 0.0
_DECOUPLING = 1e-2
_PROBE_ABOVE_CHANCE = 0.10
_ACTIVE = 0.05
_TEMPERATURE = (0.5, 2.0)
_GAP = 0.15


class CellLineEnergyDiagnosisMixin:
    """Reads the history of a training."""

    history: Any
    is_trained_: bool
    n_lines_trained_: int

    def diagnose(self) -> pd.DataFrame:
        """Limits of the method, which of them the epoch that was kept ran into, and the remedy.

        Returns
        -------
        A row per limit, in the order ``divergence``, ``no_decoupling``, ``line_in_code``, ``over_sparsity``,
        ``temperature_collapse``, ``overfitting``, with ``metric`` (its name in ``history``), ``value``, ``bound`` (what
        it should keep to, as text), ``tripped`` (bool) and ``remedy``. A metric that was not recorded is NaN and trips
        nothing.

        Raises
        ------
        RuntimeError
            The model is not trained, or was trained without validation pairs.
        """
        if not self.is_trained_ or "validation_aupr" not in (self.history or {}):
            msg = "There is no history of validation pairs to read; train with validation pairs (train_size below 1)."
            raise RuntimeError(msg)
        curve = self._curve("validation_aupr")
        kept = int(np.nanargmax(curve)) if np.isfinite(curve).any() else len(curve) - 1

        def at(metric: str) -> float:
            values = self._curve(metric)
            return float(values[min(kept, len(values) - 1)]) if len(values) else float("nan")

        chance = 1 / max(self.n_lines_trained_, 1) + _PROBE_ABOVE_CHANCE
        gain, decoupling, probe = at("min_gain"), at("decoupling"), at("line_probe_accuracy")
        active, temperature = at("active_share"), at("temperature")
        gap = at("train_aupr") - at("validation_aupr")
        rows = [
            (
                "divergence",
                "min_gain",
                gain,
                f"> {_GAIN:g}",
                gain <= _GAIN,
                "1 + lambda R is not positive, so the order of the pairs of a line turns around: lambda_init=0.01, or "
                "plan_kwargs={'lambda_weight_decay': 0.01}",
            ),
            (
                "no_decoupling",
                "decoupling",
                decoupling,
                f"< {_DECOUPLING:g}",
                decoupling > _DECOUPLING,
                "the code of pairs repeats that of environments: raise corr_weight, or decouple='hsic'",
            ),
            (
                "line_in_code",
                "line_probe_accuracy",
                probe,
                f"< {chance:.3g}",
                probe > chance,
                "the code of pairs tells their line: input_norm='rank', or adversary_weight=0.1, at a cost in accuracy",
            ),
            (
                "over_sparsity",
                "active_share",
                active,
                f"> {_ACTIVE:g}",
                active < _ACTIVE,
                "hardly a dimension is used: lower sparsity_weight, or sparsity='l2'",
            ),
            (
                "temperature_collapse",
                "temperature",
                temperature,
                f"{_TEMPERATURE[0]:g} to {_TEMPERATURE[1]:g}",
                not _TEMPERATURE[0] <= temperature <= _TEMPERATURE[1],
                "t_l2=1.0, or temperature_range=(0.5, 2.0)",
            ),
            (
                "overfitting",
                "train_aupr - validation_aupr",
                gap,
                f"< {_GAP:g}",
                gap > _GAP,
                "dropout_rate=0.3, plan_kwargs={'weight_decay': 1e-2}, a smaller n_hidden, or fewer epochs",
            ),
        ]
        table = pd.DataFrame(rows, columns=["limit", "metric", "value", "bound", "tripped", "remedy"])
        table["tripped"] &= table["value"].notna()
        return table.set_index("limit")

    def _curve(self, metric: str) -> np.ndarray:
        table = self.history.get(metric)
        return np.zeros(0) if table is None else table.iloc[:, 0].to_numpy(dtype=float)
