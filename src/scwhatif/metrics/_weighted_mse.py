"""Errors that weigh genes by how much a perturbation does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.metrics._profiles import read_pair, read_per_gene, read_profile

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from scwhatif.metrics._profiles import Profiles


def weighted_mse(
    predicted: ArrayLike | pd.DataFrame, observed: ArrayLike | pd.DataFrame, weights: ArrayLike | pd.DataFrame
) -> pd.Series:
    r"""Weighted mean squared error, over genes, of each perturbation.

    .. math:: \frac{\sum_g w_{pg} (\hat y_{pg} - y_{pg})^2}{\sum_g w_{pg}}

    In the plain mean, the thousands of genes that a perturbation leaves alone hide the few that it changes, and their
    mean over other perturbations predicts them best :cite:p:`Mejia2025`. With weights of 1 it is the plain mean.

    Parameters
    ----------
    predicted, observed
        Mean profiles, perturbations × genes, finite. Two tables are matched by the names in ``observed``.
    weights
        Not negative, of the same shape, or ``(n_genes,)`` for all perturbations; as from
        :func:`~scwhatif.metrics.effect_weights`.

    Returns
    -------
    One error per perturbation.

    Raises
    ------
    ValueError
        Shapes disagree, names repeat or are missing, values are not finite, or weights are negative or all 0.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.weighted_mse([[1.0, 0.0]], [[3.0, 1.0]], [[3.0, 1.0]])
    0    3.25
    dtype: float64
    """
    guess, truth = read_pair(predicted, observed)
    shares = _shares(weights, truth)
    return truth.series((shares * np.square(guess - truth.values)).sum(axis=1))


def weighted_r2(
    predicted: ArrayLike | pd.DataFrame,
    observed: ArrayLike | pd.DataFrame,
    reference: ArrayLike | pd.Series,
    *,
    weights: ArrayLike | pd.DataFrame,
) -> pd.Series:
    r"""Weighted share of the observed effect's variance over genes that is predicted, for each perturbation.

    With effects :math:`\delta = y - r`, :math:`\hat\delta = \hat y - r` and their weighted mean
    :math:`\bar\delta_p` over genes,

    .. math:: 1 - \frac{\sum_g w_{pg} (\hat\delta_{pg} - \delta_{pg})^2}{\sum_g w_{pg} (\delta_{pg} - \bar\delta_p)^2}

    :cite:p:`Mejia2025`. Unlike a correlation it sees the size of the effect. It has no lower bound, and predicting the
    reference itself scores 0 or less.

    Parameters
    ----------
    predicted, observed
        Mean profiles, perturbations × genes, finite. Two tables are matched by the names in ``observed``.
    reference
        One profile, ``(n_genes,)``: the mean over the training perturbations.
    weights
        As in :func:`~scwhatif.metrics.weighted_mse`.

    Returns
    -------
    One share per perturbation, at most 1. Where the observed effect is the same in all genes, it is 1 if predicted
    exactly and 0 otherwise.

    Raises
    ------
    ValueError
        Shapes disagree, names repeat or are missing, values are not finite, or weights are negative or all 0.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.weighted_r2([[1.0, 0.0]], [[2.0, 0.0]], [0.0, 0.0], weights=[[1.0, 1.0]])
    0    0.5
    dtype: float64
    """
    guess, truth = read_pair(predicted, observed)
    centre = read_profile(reference, "reference", like=truth)
    shares = _shares(weights, truth)
    effect = truth.values - centre
    mean = (shares * effect).sum(axis=1, keepdims=True)
    error = (shares * np.square(guess - truth.values)).sum(axis=1)
    variance = (shares * np.square(effect - mean)).sum(axis=1)
    missed = np.divide(error, variance, out=np.where(error > 0, 1.0, 0.0), where=variance > 0)
    return truth.series(1 - missed)


def _shares(weights: ArrayLike | pd.DataFrame, like: Profiles) -> NDArray[np.float64]:
    """Weights that add up to 1 over genes."""
    values = read_per_gene(weights, "weights", like=like)
    if (values < 0).any() or not (values.sum(axis=1) > 0).all():
        msg = "weights must not be negative, and those of a perturbation not all 0."
        raise ValueError(msg)
    return values / values.sum(axis=1, keepdims=True)
