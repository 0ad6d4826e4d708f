"""The scores that predicted perturbations are compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scwhatif.metrics._discrimination_score import discrimination_score
from scwhatif.metrics._pearson_delta import pearson_delta
from scwhatif.metrics._weighted_mse import weighted_mse, weighted_r2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray


class Truth(NamedTuple):
    """What predictions are compared with.

    Parameters
    ----------
    observed
        Perturbations × genes.
    control
        Mean profile of control cells.
    mean
        Mean profile of the training perturbations, ``None`` where they are not known.
    weights
        Of genes, perturbations × genes, ``None`` where they are not known.
    targets
        Genes each perturbation acts on.
    """

    observed: pd.DataFrame
    control: pd.Series
    mean: pd.Series | None = None
    weights: pd.DataFrame | None = None
    targets: Mapping[str, str | Sequence[str]] | None = None

    @property
    def known(self) -> set[str]:
        """Which of the things that some metrics need are there."""
        there = {
            "train": self.mean is not None,
            "weights": self.weights is not None,
            "two perturbations": len(self.observed) > 1,
        }
        return {name for name, is_there in there.items() if is_there}


class Metric(NamedTuple):
    """One score.

    Parameters
    ----------
    score
        Gives one value per perturbation from a prediction, perturbations × genes, and the truth.
    sign
        1 if higher is better, -1 if lower is.
    perfect
        Best value there is.
    needs
        What of :attr:`Truth.known` it needs.
    """

    score: Callable[[pd.DataFrame, Truth], pd.Series]
    sign: int = 1
    perfect: float = 1.0
    needs: frozenset[str] = frozenset()


def _mse(predicted: pd.DataFrame, truth: Truth) -> pd.Series:
    return weighted_mse(predicted, truth.observed, np.ones(truth.observed.shape[1]))


def _mae(predicted: pd.DataFrame, truth: Truth) -> pd.Series:
    return (predicted - truth.observed).abs().mean(axis=1)


METRICS = {
    "pearson_control": Metric(lambda p, t: pearson_delta(p, t.observed, t.control)),
    "pearson_mean": Metric(lambda p, t: pearson_delta(p, t.observed, t.mean), needs=frozenset({"train"})),
    "mse": Metric(_mse, sign=-1, perfect=0.0),
    "mae": Metric(_mae, sign=-1, perfect=0.0),
    "weighted_mse": Metric(
        lambda p, t: weighted_mse(p, t.observed, t.weights), sign=-1, perfect=0.0, needs=frozenset({"weights"})
    ),
    "weighted_r2": Metric(
        lambda p, t: weighted_r2(p, t.observed, t.mean, weights=t.weights), needs=frozenset({"train", "weights"})
    ),
    "discrimination": Metric(
        lambda p, t: discrimination_score(p, t.observed, targets=t.targets), needs=frozenset({"two perturbations"})
    ),
    "centroid_accuracy": Metric(
        lambda p, t: discrimination_score(p, t.observed, distance="l2"), needs=frozenset({"two perturbations"})
    ),
}


def select_metrics(names: Iterable[str] | None, known: set[str]) -> list[str]:
    """Check which scores are asked for.

    Parameters
    ----------
    names
        Names of metrics, ``None`` for all that can be had.
    known
        As :attr:`Truth.known`.

    Returns
    -------
    Names of metrics.

    Raises
    ------
    ValueError
        One is unknown, or asked for and needs what is not there.
    """
    wanted = list(METRICS) if names is None else list(names)
    unknown = [name for name in wanted if name not in METRICS]
    if unknown or not wanted:
        msg = f"metrics={wanted} must be names from {list(METRICS)}."
        raise ValueError(msg)
    possible = [name for name in wanted if METRICS[name].needs <= known]
    if names is not None and possible != wanted:
        name = next(name for name in wanted if name not in possible)
        lacking = " and ".join(sorted(METRICS[name].needs - known))
        msg = f"{name} needs {lacking}; give it, or leave {name} out of metrics."
        raise ValueError(msg)
    return possible


def score_all(predictions: Iterable[pd.DataFrame], truth: Truth, metrics: Sequence[str]) -> NDArray[np.float64]:
    """Score predictions.

    Parameters
    ----------
    predictions
        Tables, perturbations × genes in the order of the truth.
    truth
        What to compare them with.
    metrics
        Names of metrics.

    Returns
    -------
    ``(n_predictions, n_metrics, n_perturbations)``.
    """
    return np.array([[METRICS[name].score(table, truth).to_numpy() for name in metrics] for table in predictions])
