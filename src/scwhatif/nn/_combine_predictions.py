"""The best non-negative combination of whichever predictions are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RIDGE = 1e-3
_SWEEPS = 100
_MIN_FREEDOM = 0.1
_ROUNDING = 1e-9


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
    residual_with_target
        Mean product of what each prediction leaves and the feature, ``(n_features, n_predictions)``.
    residual
        Mean product of what each pair of predictions leaves, ``(n_features, n_predictions, n_predictions)``; of two
        that are never there together as if they erred alike.
    n_rows
        Number of rows behind each prediction, ``(n_features, n_predictions)``.
    """

    among: np.ndarray
    with_target: np.ndarray
    target: np.ndarray
    residual_with_target: np.ndarray
    residual: np.ndarray
    n_rows: np.ndarray


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
    residual, residual_with_target = np.zeros(among.shape), np.zeros(with_target.shape)
    n_rows = np.zeros(with_target.shape)
    for a in range(n_predictions):
        first = np.where(available[a][:, None], predictions[a], 0.0)
        n_rows[:, a] = weight[available[a]].sum(axis=0)
        with_target[:, a] = (first * target).sum(axis=0) / np.maximum(n_rows[:, a], 1.0)
        left = np.where(available[a][:, None] & observed, target - first, 0.0)
        residual_with_target[:, a] = (left * target).sum(axis=0) / np.maximum(n_rows[:, a], 1.0)
        residual[:, a, a] = np.square(left).sum(axis=0) / np.maximum(n_rows[:, a], 1.0)
        for b in range(a + 1):
            both = available[a] & available[b]
            product = (weight[both] * first[both] * predictions[b][both]).sum(axis=0)
            n = weight[both].sum(axis=0)
            among[:, a, b] = among[:, b, a] = product / np.maximum(n, 1.0)
            if a != b:
                alike = np.sqrt(residual[:, a, a] * residual[:, b, b])
                product = (left[both] * (target - predictions[b])[both]).sum(axis=0) / np.maximum(n, 1.0)
                residual[:, a, b] = residual[:, b, a] = np.where(n > 0, product, alike)
    mean_square = (target**2).sum(axis=0) / np.maximum(weight.sum(axis=0), 1.0)
    return PredictionMoments(among, with_target, mean_square, residual_with_target, residual, n_rows)


def combination_weights(moments: PredictionMoments, available: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Non-negative least squares of each feature on the predictions that are available.

    Minimises :math:`E(y - \sum_e w_e m_e)^2` over :math:`w \ge 0` given the second moments, by coordinate descent on
    all features at once.

    The error of the combination is put together from what each prediction leaves, with :math:`s = 1 - \sum_e w_e` as

    .. math::
        s^2 E(y^2) + 2 s \sum_e w_e E(y r_e) + \sum_{ef} w_e w_f E(r_e r_f), \qquad r_e = y - m_e,

    because moments over different rows contradict each other by a share of what they measure: between residuals that
    is little, between predictions it may be more than the error. Weights were fitted to these rows, so the error of a
    new row is :math:`(n + k) / (n - k)` times that, for :math:`k` weights (Akaike's final prediction error).

    Parameters
    ----------
    moments
        Second moments of the predictions.
    available
        Which predictions may be used, ``(n_predictions,)``, bool.

    Returns
    -------
    Weights, ``(n_features, n_predictions)``, 0 where not available, and the mean squared error of a new row,
    ``(n_features,)``.
    """
    weights = np.zeros(moments.with_target.shape)
    used = np.flatnonzero(available)
    among, with_target = _consistent(moments, used)
    diagonal = np.einsum("jee->je", among) * (1.0 + _RIDGE)
    for _ in range(_SWEEPS):
        before = weights.copy()
        for i, e in enumerate(used):
            rest = with_target[:, i] - (
                np.einsum("jk,jk->j", among[:, i], weights[:, used]) - among[:, i, i] * weights[:, e]
            )
            weights[:, e] = np.maximum(rest, 0.0) / np.maximum(diagonal[:, i], 1e-12)
            weights[diagonal[:, i] <= 1e-12, e] = 0.0
        if np.abs(weights - before).max(initial=0.0) < 1e-6:
            break
    rest = 1.0 - weights.sum(axis=1)
    error = (
        rest**2 * moments.target
        + 2 * rest * (moments.residual_with_target * weights).sum(axis=1)
        + np.einsum("je,jek,jk->j", weights, moments.residual, weights)
    )
    positive = weights > 0
    n = np.where(positive, np.maximum(moments.n_rows, 1.0), np.inf).min(axis=1, initial=np.inf)
    share = positive.sum(axis=1) / n
    return weights, np.maximum(error, 0.0) * (1 + share) / np.maximum(1 - share, _MIN_FREEDOM)


def _consistent(moments: PredictionMoments, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moments of some predictions and the feature, made those that data could have where they are not.

    Pairs of predictions are there in other rows each. Where the moments of all together are no covariance, the least
    squares have no minimum; the nearest matrix without negative eigenvalues takes their place.
    """
    n = len(used)
    joint = np.empty((len(moments.target), n + 1, n + 1))
    joint[:, :n, :n] = moments.among[:, used[:, None], used]
    joint[:, :n, n] = joint[:, n, :n] = moments.with_target[:, used]
    joint[:, n, n] = moments.target
    values, vectors = np.linalg.eigh(joint)
    broken = values[:, 0] < -_ROUNDING * values[:, -1]
    kept = np.maximum(values[broken], 0.0)[:, None, :]
    joint[broken] = (vectors[broken] * kept) @ vectors[broken].transpose(0, 2, 1)
    return joint[:, :n, :n], joint[:, :n, n]
