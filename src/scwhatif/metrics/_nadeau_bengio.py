"""How far a mean over folds can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class FoldInterval(NamedTuple):
    """Mean over folds with its interval.

    Parameters
    ----------
    mean
        Mean over folds.
    low, high
        Ends of the interval; NaN from fewer than two folds.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def nadeau_bengio_interval(
    scores: ArrayLike, *, n_train: ArrayLike, n_test: ArrayLike, confidence: float = 0.95
) -> FoldInterval:
    r"""Interval of a mean over folds that allows for their shared training samples :cite:p:`Nadeau2003`.

    .. math::
        \bar s \pm t_{J - 1,\, (1 + c) / 2}\;
            \sqrt{\frac{1}{J} + \frac{n_\text{test}}{n_\text{train}}}\;\; \mathrm{sd}(s)

    with :math:`J` folds, those of all repeats together. Scores of folds are not independent, because two of them share
    most of their training samples, so the usual :math:`\sqrt{1 / J}` is too narrow, and the more so the more repeats
    there are.

    Parameters
    ----------
    scores
        Score of each fold along the last axis; folds with NaN are left out.
    n_train, n_test
        Numbers of training and test samples, one number, or one per fold.
    confidence
        Of the interval, within (0, 1).

    Returns
    -------
    Mean, low and high end, in the shape of ``scores`` without its last axis.

    Raises
    ------
    ValueError
        ``confidence``, ``n_train`` or ``n_test`` is out of range, or not one per fold.

    Examples
    --------
    >>> mean, low, high = nadeau_bengio_interval([0.30, 0.34, 0.28, 0.33, 0.35], n_train=80, n_test=20)
    >>> f"{mean:.2f} ({low:.3f} to {high:.3f})"
    '0.32 (0.266 to 0.374)'
    """
    from scipy.stats import t

    values = np.asarray(scores, dtype=np.float64)
    if not 0 < confidence < 1:
        msg = f"confidence={confidence} must lie within (0, 1)."
        raise ValueError(msg)
    if values.ndim == 0:
        msg = "scores must have one value per fold."
        raise ValueError(msg)
    sizes = []
    for name, given in (("n_train", n_train), ("n_test", n_test)):
        size = np.asarray(given, dtype=np.float64)
        if size.ndim > 1 or (size.ndim == 1 and len(size) != values.shape[-1]) or not (size > 0).all():
            msg = f"{name} must be above 0, a single number or one for each of the {values.shape[-1]} fold(s)."
            raise ValueError(msg)
        sizes.append(np.broadcast_to(size, values.shape[-1:]))
    there = ~np.isnan(values)
    n_folds = there.sum(axis=-1)
    divisor = np.maximum(n_folds, 1)
    mean = np.where(n_folds > 0, np.where(there, values, 0.0).sum(axis=-1) / divisor, np.nan)
    deviation = np.where(there, values - mean[..., None], 0.0)
    variance = np.square(deviation).sum(axis=-1) / np.maximum(n_folds - 1, 1)
    ratio = (there * (sizes[1] / sizes[0])).sum(axis=-1) / divisor
    quantile = t.ppf((1 + confidence) / 2, np.maximum(n_folds - 1, 1))
    half = np.where(n_folds > 1, quantile * np.sqrt((1 / divisor + ratio) * variance), np.nan)
    return FoldInterval(mean, mean - half, mean + half)
