"""What the scores of many predictors over many perturbations come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._mean_interval import mean_interval
from scwhatif.metrics._perturbation_metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def summarise_scores(
    values: NDArray[np.float64],
    kinds: Mapping[str, str],
    metrics: Sequence[str],
    *,
    zero: str | None,
    one: str | None,
    n_boot: int,
    confidence: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Means, intervals, gains over the best floor and calibration.

    Parameters
    ----------
    values
        ``(n_predictors, n_metrics, n_perturbations)``.
    kinds
        ``"model"``, ``"floor"`` or ``"ceiling"`` by name of the predictor.
    metrics
        Names of the metrics.
    zero, one
        Predictors between which others are calibrated; ``None`` for no calibration.
    n_boot, confidence
        Number of resamples of perturbations for the intervals, and how much these are to hold.
    rng
        Source of the resamples.

    Returns
    -------
    One row per predictor and metric, as :func:`~scwhatif.metrics.evaluate_perturbation` describes it.
    """
    n_predictors, n_metrics, n_tested = values.shape
    names = list(kinds)
    sign = np.array([METRICS[name].sign for name in metrics])
    better = sign[:, None] * values
    gain = np.full_like(values, np.nan)
    floors = [i for i, name in enumerate(names) if kinds[name] == "floor"]
    if floors:
        best = np.array(floors)[better[floors].mean(axis=2).argmax(axis=0)]
        gain = better - better[best, np.arange(n_metrics)]
    lead = np.zeros((n_metrics, n_tested))
    if zero is not None and one is not None:
        lead = better[names.index(one)] - better[names.index(zero)]

    stacked = np.concatenate([values.reshape(-1, n_tested), gain.reshape(-1, n_tested), lead])
    low, high = mean_interval(stacked, n_boot=n_boot, confidence=confidence, rng=rng)
    calibrated, dynamic_range = np.full((n_predictors, n_metrics), np.nan), np.full(n_metrics, np.nan)
    if zero is not None and one is not None:
        start = better[names.index(zero)].mean(axis=1)
        perfect = sign * np.array([METRICS[name].perfect for name in metrics])
        np.divide(lead.mean(axis=1), perfect - start, out=dynamic_range, where=perfect > start)
        told = np.broadcast_to(low[-n_metrics:] > 0, calibrated.shape)
        np.divide(better.mean(axis=2) - start, lead.mean(axis=1), out=calibrated, where=told)
    n = n_predictors * n_metrics
    return pd.DataFrame(
        {
            "predictor": np.repeat(names, n_metrics),
            "kind": np.repeat(list(kinds.values()), n_metrics),
            "metric": np.tile(metrics, n_predictors),
            "value": values.mean(axis=2).ravel(),
            "low": low[:n],
            "high": high[:n],
            "gain": gain.mean(axis=2).ravel(),
            "gain_low": low[n : 2 * n],
            "gain_high": high[n : 2 * n],
            "calibrated": calibrated.ravel(),
            "dynamic_range": np.tile(dynamic_range, n_predictors),
            "n_perturbations": n_tested,
        }
    )
