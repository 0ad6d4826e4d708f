"""Means over samples that several models were asked about, with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scwhatif.tl._fold_models import FoldModel

_CONFIDENCE = 0.95


class FoldEffects:
    """Values of samples by model, which are averaged over models, then over samples.

    Parameters
    ----------
    folds
        The models and their samples.
    n_obs
        Number of samples.
    """

    def __init__(self, folds: Sequence[FoldModel], n_obs: int) -> None:
        self.folds, self.n_obs = list(folds), n_obs
        self.blocks: list[NDArray[np.float64]] = []

    def add(self, values: NDArray[np.float64]) -> None:
        """Take what the next model says of its samples.

        Parameters
        ----------
        values
            ``(n_rows, n_items)``, NaN where it says nothing.
        """
        self.blocks.append(values)

    def by_sample(self) -> NDArray[np.float64]:
        """Mean over models of what they say of each sample.

        Returns
        -------
        ``(n_obs, n_items)``; NaN where no model says anything.
        """
        total = np.zeros((self.n_obs, self.blocks[0].shape[1]))
        n = np.zeros(total.shape)
        for fold, block in zip(self.folds, self.blocks, strict=True):
            np.add.at(total, fold.rows, np.where(np.isnan(block), 0.0, block))
            np.add.at(n, fold.rows, ~np.isnan(block))
        return np.where(n > 0, total / np.maximum(n, 1), np.nan)

    def interval(self) -> EffectInterval:
        """Mean over samples, with the spread between models, or between samples of a single model.

        Returns
        -------
        Mean and interval of every item.
        """
        from scwhatif.metrics import nadeau_bengio_interval

        samples = self.by_sample()
        effect, n_samples = _mean(samples)
        deviation = np.where(np.isnan(samples), 0.0, samples - effect)
        variance = np.square(deviation).sum(axis=0) / np.maximum(n_samples - 1, 1)
        df = (n_samples - 1).astype(np.float64)
        se = np.where(n_samples > 1, np.sqrt(variance / np.maximum(n_samples, 1)), np.nan)
        means = np.stack([_mean(block)[0] for block in self.blocks], axis=1)
        n_models = (~np.isnan(means)).sum(axis=1)
        if len(self.blocks) > 1:
            n_test = [len(fold.rows) for fold in self.folds]
            n_train = [len(fold.model.train_indices) + len(fold.model.validation_indices) for fold in self.folds]
            found = nadeau_bengio_interval(means, n_train=n_train, n_test=n_test, confidence=_CONFIDENCE)
            several = n_models > 1
            se = np.where(several, (found.high - found.low) / 2 / _quantile(n_models - 1.0), se)
            df = np.where(several, n_models - 1.0, df)
        return EffectInterval.of(effect, se, df, n_models)


class EffectInterval(NamedTuple):
    """Means with their intervals.

    Parameters
    ----------
    effect
        Mean over samples, ``(n_items,)``.
    se
        Its standard error.
    low, high
        Ends of the 95 % interval of Student's t.
    n_models
        Number of models that say something.
    df
        Degrees of freedom of the error.
    """

    effect: NDArray[np.float64]
    se: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_models: NDArray[np.int64]
    df: NDArray[np.float64]

    @classmethod
    def of(
        cls, effect: NDArray[np.float64], se: NDArray[np.float64], df: NDArray[np.float64], n_models: NDArray[np.int64]
    ) -> EffectInterval:
        """From means, standard errors and their degrees of freedom."""
        half = _quantile(df) * se
        return cls(effect, se, effect - half, effect + half, n_models, df)

    def widened(self, se: NDArray[np.float64], df: NDArray[np.float64]) -> EffectInterval:
        """Add an independent error, with Welch's degrees of freedom for both together.

        Parameters
        ----------
        se
            Its standard error.
        df
            Its degrees of freedom.

        Returns
        -------
        The interval.
        """
        between, other = np.square(self.se), np.square(se)
        parts = np.square(between) / np.maximum(self.df, 1) + np.square(other) / np.maximum(df, 1)
        freedom = np.where(parts > 0, np.square(between + other) / np.where(parts > 0, parts, 1.0), 1.0)
        return self.of(self.effect, np.sqrt(between + other), freedom, self.n_models)

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Means, errors and ends, by name."""
        return {name: getattr(self, name) for name in ("effect", "se", "low", "high")}


def table_of(drivers: Sequence[str], columns: dict[str, Any]) -> pd.DataFrame:
    """Rows of drivers, largest effect first.

    Parameters
    ----------
    drivers
        Their names.
    columns
        What is known of each.

    Returns
    -------
    The table; drivers without an effect are last.
    """
    table = pd.DataFrame({"driver": np.asarray(drivers, dtype=object), **columns})
    return table.sort_values("effect", ascending=False, kind="stable", na_position="last", ignore_index=True)


def _quantile(df: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import t

    return np.asarray(t.ppf((1 + _CONFIDENCE) / 2, np.maximum(df, 1)))


def _mean(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    return np.where(n > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan), n
