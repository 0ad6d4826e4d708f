"""What the measured layers of a sample say about the features of a layer that is hidden."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from scwhatif.nn._combine_predictions import PredictionMoments, combination_weights, prediction_moments
from scwhatif.nn._ridge_loo import CisFit, RidgeFit, cis_ridge_loo, ridge_loo

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_MIN_ROWS = 10
_COVARIATES = "covariates"


@dataclass
class _Expert:
    """One regression, and the layers it reads, each with a scale (a joint regression reads several)."""

    reads: dict[str, float]
    fit: RidgeFit | CisFit

    def regressors(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.hstack([values[name] * scale for name, scale in self.reads.items()])


@dataclass
class LayerEvidence:
    """Regressions of one layer on each of the others, combined for whichever are there.

    Attributes
    ----------
    experts
        The regressions by name.
    moments
        Second moments of their leave-one-out predictions.
    rows
        Positions of the rows that each was fitted on, rising.
    """

    experts: dict[str, _Expert] = field(default_factory=dict)
    moments: PredictionMoments | None = None
    rows: dict[str, np.ndarray] = field(default_factory=dict)

    def predict(
        self, values: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Predict the layer from what is there, row by row.

        Parameters
        ----------
        values
            Standardised values of the layers given, 0 where an entry is missing, ``(n_rows, n_features)`` each;
            ``"covariates"`` is the design of the covariates.
        present
            Which rows have each of these layers, ``(n_rows,)``, bool.

        Returns
        -------
        Mean and variance of the standardised features (rows × features), and which rows any regression could be used
        for; ``None`` if there is no regression at all.
        """
        if self.moments is None:
            return None
        n_rows = len(next(iter(present.values()))) if present else 0
        available = np.zeros((len(self.experts), n_rows), dtype=bool)
        predictions: list[np.ndarray | None] = []
        for e, expert in enumerate(self.experts.values()):
            usable = set(expert.reads) <= set(values)
            if usable:
                available[e] = np.logical_and.reduce([present[name] for name in expert.reads])
            predictions.append(expert.fit.predict(expert.regressors(values)) if usable else None)
        return self._combine(predictions, available)

    def predict_left_out(
        self, rows: np.ndarray, given: Collection[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Predict rows it was fitted on, each as if it had been left out.

        Parameters
        ----------
        rows
            Positions among the rows it was fitted on.
        given
            Names of the layers that may be used.

        Returns
        -------
        As :meth:`predict`.

        Raises
        ------
        RuntimeError
            The training rows have been forgotten.
        """
        if self.moments is None:
            return None
        if not self.rows:
            msg = "The leave-one-out predictions have been dropped by forget_rows()."
            raise RuntimeError(msg)
        available = np.zeros((len(self.experts), len(rows)), dtype=bool)
        predictions: list[np.ndarray | None] = []
        for e, (name, expert) in enumerate(self.experts.items()):
            if not set(expert.reads) <= set(given):
                predictions.append(None)
                continue
            position = np.searchsorted(self.rows[name], rows).clip(max=len(self.rows[name]) - 1)
            available[e] = self.rows[name][position] == rows
            predictions.append(expert.fit.left_out[position])
        return self._combine(predictions, available)

    def _combine(
        self, predictions: list[np.ndarray | None], available: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        moments = cast("PredictionMoments", self.moments)
        n_rows = available.shape[1]
        mean = np.zeros((n_rows, len(moments.target)))
        variance = np.tile(moments.target, (n_rows, 1))
        patterns, which = np.unique(available, axis=1, return_inverse=True)
        for p, pattern in enumerate(patterns.T):
            rows = np.flatnonzero(which.ravel() == p)
            weights, error = combination_weights(moments, pattern)
            for prediction, weight in zip(predictions, weights.T, strict=True):
                if prediction is not None and weight.any():
                    mean[rows] += weight * prediction[rows]
            variance[rows] = error
        return mean, variance, np.asarray(available.any(axis=0))

    def forget_rows(self) -> None:
        """Drop what belongs to single training rows, which prediction does not need."""
        for expert in self.experts.values():
            expert.fit.left_out = np.zeros((0, expert.fit.left_out.shape[1]))
        self.rows = {}


def fit_layer_evidence(
    target: str,
    values: Mapping[str, np.ndarray],
    observed: Mapping[str, np.ndarray],
    *,
    links: Mapping[str, np.ndarray] | None = None,
    direct: bool = True,
    max_rank: int = 512,
) -> LayerEvidence:
    """Regress a layer on every other one, on the same genes, on all of them together and on the covariates.

    Every regression uses the rows that have all it reads, and its penalty is chosen feature by feature by the exact
    leave-one-out error. How much each counts is learned from the leave-one-out predictions, never from fitted values,
    so a regression on many features is not believed more than it deserves.

    Parameters
    ----------
    target
        Name of the layer.
    values
        Standardised values of all layers by name, 0 where an entry is missing; ``"covariates"``, if there, is a
        design matrix.
    observed
        Which entries were measured, by name of the layer.
    links
        Features of another layer that share a gene with each feature of the target, by name of that layer.
    direct
        Whether to regress on whole layers, or only on the same genes and the covariates.
    max_rank
        Largest number of principal axes of a layer that are used.

    Returns
    -------
    The regressions and the moments of their predictions.
    """
    y, seen = values[target], observed[target]
    present = {name: mask.any(axis=1) for name, mask in observed.items()}
    if _COVARIATES in values:
        present[_COVARIATES] = np.ones(len(y), dtype=bool)
    evidence = LayerEvidence()

    def add(name: str, reads: dict[str, float], positions: np.ndarray | None = None) -> RidgeFit | CisFit | None:
        rows = np.flatnonzero(present[target] & np.logical_and.reduce([present[source] for source in reads]))
        if len(rows) < _MIN_ROWS:
            return None
        x = np.hstack([values[source][rows] * scale for source, scale in reads.items()])
        fit: RidgeFit | CisFit
        if positions is None:
            fit = ridge_loo(x, y[rows], seen[rows], max_rank=max_rank)
        else:
            fit = cis_ridge_loo(x, y[rows], seen[rows], positions)
        evidence.experts[name], evidence.rows[name] = _Expert(reads, fit), rows
        return fit

    sources = [name for name in values if name not in (target, _COVARIATES)]
    if _COVARIATES in values:
        add(_COVARIATES, {_COVARIATES: 1.0})
    scales = {}
    for source in sources:
        if direct and (fit := add(source, {source: 1.0})) is not None:
            rows = evidence.rows[source]
            explained = 1 - np.square((fit.left_out - y[rows])[seen[rows]]).sum() / np.square(y[rows][seen[rows]]).sum()
            # a layer counts in the joint regression for what it explains alone, whatever its number of features
            scales[source] = float(np.sqrt(max(explained, 1e-3) / values[source].shape[1]))
        positions = (links or {}).get(source)
        if positions is not None and (positions >= 0).any():
            add(f"cis:{source}", {source: 1.0}, positions)
    if len(scales) > 1:
        add("joint", scales)
    if evidence.experts:
        predictions = np.zeros((len(evidence.experts), *y.shape))
        available = np.zeros(predictions.shape[:2], dtype=bool)
        for e, (name, expert) in enumerate(evidence.experts.items()):
            rows = evidence.rows[name]
            predictions[e, rows], available[e, rows] = expert.fit.left_out, True
        evidence.moments = prediction_moments(predictions, available, y, seen)
    return evidence
