"""What sets of features of any layer say about another, read by the same cheap regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scwhatif.tl._layer_values import layer_values, scale_of, training_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.tl._layer_predictions import LayerPredictions
    from scwhatif.tl._layer_values import LayerValues

_MAX_RANK = 128
_MIN_ROWS = 10


@dataclass(frozen=True, eq=False)
class _Part:
    """Regressors and target of one model's training samples, and regressors of the samples to predict."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    seen: NDArray[np.bool_]
    asked: NDArray[np.float64]


class SetReader:
    """Ridge regression of a layer on any features of others, within the training samples of every model.

    A set of features is read in the samples that have all layers that sets are drawn from, so that all sets are read
    in the same ones.

    Parameters
    ----------
    predictions
        The target in the samples asked about.
    mdata
        The samples.
    target
        The layer to predict.
    layers
        Layers that features come from.

    Raises
    ------
    ValueError
        Too few samples have all layers.
    """

    def __init__(self, predictions: LayerPredictions, mdata: MuData, target: str, layers: Sequence[str]) -> None:
        self.predictions = predictions
        self.parts: list[_Part] = []
        self.columns: dict[str, NDArray[np.int64]] = {}
        complete = []
        for fold in predictions.folds:
            training = layer_values(fold.model, None, training_rows(fold.model))
            asked = layer_values(fold.model, mdata, fold.rows)
            rows = training.present([target, *layers])
            if rows.sum() < _MIN_ROWS:
                msg = (
                    f"Only {int(rows.sum())} training sample(s) of a model have all of {[target, *layers]}; at least "
                    f"{_MIN_ROWS} are needed. Name fewer layers in pool."
                )
                raise ValueError(msg)
            scale = scale_of(fold.model, target)
            part = _Part(
                x=_side_by_side(training, layers)[rows],
                y=training.values[target][rows] * scale,
                seen=training.observed[target][rows],
                asked=_side_by_side(asked, layers),
            )
            self.parts.append(part)
            complete.append(asked.present(layers))
            ends = np.cumsum([0, *(training.values[name].shape[1] for name in layers)])
            self.columns = {name: np.arange(ends[i], ends[i + 1]) for i, name in enumerate(layers)}
        self.used = np.concatenate(complete)[:, None]
        self.n_samples = int((self.used & predictions.held_out.observed).any(axis=1).sum())
        if self.n_samples < _MIN_ROWS:
            msg = (
                f"Only {self.n_samples} sample(s) asked about have all of {[target, *layers]}; at least {_MIN_ROWS} "
                "are needed. Name fewer layers in pool."
            )
            raise ValueError(msg)

    def r2(self, features: NDArray[np.int64]) -> float:
        """Share of the variance of the target that a set of features explains, mean over its features.

        Parameters
        ----------
        features
            Some of :attr:`columns`.

        Returns
        -------
        The share.
        """
        from scwhatif.nn import ridge_loo

        predicted = [
            ridge_loo(part.x[:, features], part.y, part.seen, max_rank=_MAX_RANK).predict(part.asked[:, features])
            for part in self.parts
        ]
        return float(self.predictions.held_out.score(np.concatenate(predicted), used=self.used).mean.value[0])


@dataclass(frozen=True, eq=False)
class MatchedSets:
    """A layer against random sets of features of others, of the same size.

    Attributes
    ----------
    size
        Number of features on either side.
    own
        R² of the layer, or of random sets of it where it is larger than ``size``, ``(n_sets,)``.
    other
        R² of random sets of the other layers, ``(n_sets,)``.
    """

    size: int
    own: NDArray[np.float64]
    other: NDArray[np.float64]

    @property
    def percentile(self) -> float:
        """Share of comparisons that the layer wins, in percent; ties count half."""
        return float(100 * np.mean((self.other < self.own) + 0.5 * (self.other == self.own)))

    @property
    def pvalue(self) -> float:
        """How often random sets say as much as the layer, which is counted in."""
        return float((1 + np.sum(self.other >= self.own)) / (1 + len(self.other)))


def matched_sets(
    reader: SetReader, layer: str, pool: Sequence[str], *, n_sets: int, rng: np.random.Generator
) -> MatchedSets:
    """Compare a layer with random sets of features of the others.

    Parameters
    ----------
    reader
        Reads both sides.
    layer
        The layer.
    pool
        Layers that sets are drawn from, feature by feature.
    n_sets
        Number of sets.
    rng
        Draws them.

    Returns
    -------
    R² of either side. A layer with more than half as many features as the pool is cut to that number, anew each time,
    because sets of nearly the whole pool would all be the same.
    """
    own, others = reader.columns[layer], np.concatenate([reader.columns[name] for name in pool])
    size = min(len(own), max(len(others) // 2, 1))
    other = np.array([reader.r2(rng.choice(others, size, replace=False)) for _ in range(n_sets)])
    if size == len(own):
        return MatchedSets(size, np.full(n_sets, reader.r2(own)), other)
    return MatchedSets(size, np.array([reader.r2(rng.choice(own, size, replace=False)) for _ in range(n_sets)]), other)


def _side_by_side(layers: LayerValues, names: Sequence[str]) -> NDArray[np.float64]:
    return np.hstack([layers.values[name] for name in names])
