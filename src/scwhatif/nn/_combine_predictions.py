"""The best non-negative combination of whichever predictions are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RIDGE = 1e-3
_SWEEPS = 100


@dataclass
class PredictionMoments:
    """Second moments of several predictions of the same features, and of the features themselves.

    Attributes
    ----------
    among
        Mean product of each pair of predictions, ``(n_features, n_predictions, n_predictions)``.
    with_target
        Mean product of each prediction and the feature, ``(n_features, n_predictions)``.
    target
        Mean square of the feature, ``(n_features,)``.
    """

    among: np.ndarray
    with_target: np.ndarray
    target: np.ndarray


def prediction_moments(
    predictions: np.ndarray, available: np.ndarray, target: np.ndarray, observed: np.ndarray
) -> PredictionMoments:
    """Moments over the rows where both of what is multiplied are there.

    Parameters
    ----------
    predictions
        Held-out predictions, ``(n_predictions, n_rows, n_features)``; what stands where one is not available does not
        matter.
    available
        Which rows a prediction exists for, ``(n_predictions, n_rows)``, bool.
    target
        The features, ``(n_rows, n_features)``; what stands where they were not observed does not matter.
    observed
        Whether an entry of ``target`` was observed, bool.

    Returns
    -------
    The moments; 0 for a pair that is never there together.
    """
    n_predictions, n_features = len(predictions), target.shape[1]
    target, weight = np.where(observed, target, 0.0), observed.astype(float)
    among = np.zeros((n_features, n_predictions, n_predictions))
    with_target = np.zeros((n_features, n_predictions))
    for a in range(n_predictions):
        first = np.where(available[a][:, None], predictions[a], 0.0)
        with_target[:, a] = (first * target).sum(axis=0) / np.maximum(weight[available[a]].sum(axis=0), 1.0)
        for b in range(a + 1):
            both = available[a] & available[b]
            product = (weight[both] * first[both] * predictions[b][both]).sum(axis=0)
            among[:, a, b] = among[:, b, a] = product / np.maximum(weight[both].sum(axis=0), 1.0)
    return PredictionMoments(among, with_target, (target**2).sum(axis=0) / np.maximum(weight.sum(axis=0), 1.0))


def combination_weights(moments: PredictionMoments, available: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Non-negative least squares of each feature on the predictions that are available.

    Minimises :math:`E(y - \sum_e w_e m_e)^2` over :math:`w \ge 0` given the second moments, by coordinate descent on
    all features at once.

    Parameters
    ----------
    moments
        Second moments of the predictions.
    available
        Which predictions may be used, ``(n_predictions,)``, bool.

    Returns
    -------
    Weights, ``(n_features, n_predictions)``, 0 where not available, and the mean squared error, ``(n_features,)``.
    """
    weights = np.zeros(moments.with_target.shape)
    used = np.flatnonzero(available)
    diagonal = np.einsum("jee->je", moments.among) * (1.0 + _RIDGE)
    for _ in range(_SWEEPS):
        before = weights.copy()
        for e in used:
            rest = moments.with_target[:, e] - (
                np.einsum("jk,jk->j", moments.among[:, e], weights) - moments.among[:, e, e] * weights[:, e]
            )
            weights[:, e] = np.maximum(rest, 0.0) / np.maximum(diagonal[:, e], 1e-12)
            weights[diagonal[:, e] <= 1e-12, e] = 0.0
        if np.abs(weights - before).max(initial=0.0) < 1e-6:
            break
    error = (
        moments.target
        - 2 * (moments.with_target * weights).sum(axis=1)
        + np.einsum("je,jek,jk->j", weights, moments.among, weights)
    )
    return weights, np.maximum(error, 0.0)
