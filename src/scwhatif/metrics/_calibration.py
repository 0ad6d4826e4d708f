"""Whether predicted probabilities come true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from scwhatif.metrics._binary_labels import binary_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Binning = Literal["quantile", "uniform"]

# Probabilities are kept this far from 0 and 1, where their logit ends.
_EPSILON = 1e-6


class CalibrationFit(NamedTuple):
    """What :func:`calibration_slope` returns.

    Parameters
    ----------
    slope
        1 if right; below 1 the probabilities are too extreme, above 1 too timid.
    intercept
        0 if right; below 0 the probabilities are too high, above 0 too low.
    """

    slope: float
    intercept: float


def calibration_bins(
    labels: ArrayLike, probabilities: ArrayLike, *, n_bins: int = 10, strategy: Binning = "quantile"
) -> pd.DataFrame:
    """Predicted probability against share of positives in bins of predicted probability.

    Parameters
    ----------
    labels
        ``(n,)``, 0 or 1.
    probabilities
        ``(n,)``, predicted, within [0, 1].
    n_bins
        Number of bins; those without rows are left out. Equal probabilities always share a bin.
    strategy
        ``"quantile"``: bins of about equally many rows, which resolves where most predictions are; with a rare class
        that is near 0. ``"uniform"``: bins of equal width.

    Returns
    -------
    One row per bin, from low to high: ``predicted`` (mean probability), ``observed`` (share of positives), both
    float64, and ``n`` (rows), int64.

    Raises
    ------
    ValueError
        A label is neither 0 nor 1, a probability is not within [0, 1], lengths differ, there is less than one bin, or
        the strategy is unknown.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.calibration_bins([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], n_bins=2)
       predicted  observed  n
    0       0.15       0.0  2
    1       0.75       1.0  2
    """
    positive, values = binary_labels(labels, probabilities, probability=True, both=False)
    if n_bins < 1:
        msg = f"n_bins={n_bins} must be at least 1."
        raise ValueError(msg)
    if strategy not in get_args(Binning):
        msg = f"strategy={strategy!r} must be one of {get_args(Binning)}."
        raise ValueError(msg)
    steps = np.linspace(0, 1, n_bins + 1)
    edges = np.quantile(values, steps) if strategy == "quantile" else steps
    bins = np.searchsorted(np.unique(edges[1:-1]), values, side="right")
    table = pd.DataFrame({"predicted": values, "observed": positive.astype(np.float64), "n": 1})
    grouped = table.groupby(bins)
    return pd.concat([grouped[["predicted", "observed"]].mean(), grouped["n"].sum()], axis=1).reset_index(drop=True)


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, *, n_bins: int = 10, strategy: Binning = "quantile"
) -> float:
    r"""Mean distance between predicted probability and share of positives, over bins.

    .. math::
        ECE = \sum_b \frac{n_b}{n} |\bar y_b - \bar p_b|

    Parameters
    ----------
    labels
        ``(n,)``, 0 or 1.
    probabilities
        ``(n,)``, predicted, within [0, 1].
    n_bins, strategy
        As in :func:`calibration_bins`.

    Returns
    -------
    The error, in [0, 1]; 0 is right. It does not go below about :math:`\sqrt{B \pi (1 - \pi) / n}` by chance alone
    with :math:`B` bins and prevalence :math:`\pi`.

    Raises
    ------
    ValueError
        As in :func:`calibration_bins`.

    Examples
    --------
    >>> import scwhatif as wi
    >>> round(wi.metrics.expected_calibration_error([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], n_bins=2), 3)
    0.2
    """
    bins = calibration_bins(labels, probabilities, n_bins=n_bins, strategy=strategy)
    return float(np.average(np.abs(bins["observed"] - bins["predicted"]), weights=bins["n"]))


def calibration_slope(labels: ArrayLike, probabilities: ArrayLike) -> CalibrationFit:
    r"""Slope and intercept by logistic recalibration, after Cox (1958).

    The maximum likelihood fit of

    .. math::
        \text{logit } P(y = 1) = \text{intercept} + \text{slope} \cdot \text{logit } p.

    Parameters
    ----------
    labels
        ``(n,)``, 0 or 1; both must occur.
    probabilities
        ``(n,)``, predicted, within [0, 1]; values closer than 1e-6 to 0 or 1 count as that close.

    Returns
    -------
    Slope and intercept. Where all probabilities are the same, the slope is NaN and the intercept is what has to be
    added to their logit. Where they separate the labels without error, there is no such fit: the slope is infinite,
    with the sign of the separation, and the intercept NaN.

    Raises
    ------
    ValueError
        A label is neither 0 nor 1, one of them does not occur, a probability is not within [0, 1], or lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> rng = np.random.default_rng(0)
    >>> logit = rng.normal(-2, 1, 20_000)
    >>> labels = rng.uniform(size=20_000) < 1 / (1 + np.exp(-logit))
    >>> fit = wi.metrics.calibration_slope(labels, 1 / (1 + np.exp(-2 * logit - 1)))
    >>> round(fit.slope, 1), round(fit.intercept, 1)
    (0.5, -0.5)
    """
    from scipy.special import logit
    from sklearn.linear_model import LogisticRegression

    positive, values = binary_labels(labels, probabilities, probability=True)
    x = logit(np.clip(values, _EPSILON, 1 - _EPSILON))
    inside, outside = x[positive], x[~positive]
    if x.min() == x.max():
        return CalibrationFit(float("nan"), float(logit(positive.mean()) - x[0]))
    if inside.min() >= outside.max():
        return CalibrationFit(float("inf"), float("nan"))
    if inside.max() <= outside.min():
        return CalibrationFit(float("-inf"), float("nan"))
    # standardised, because the solver is slow on a narrow range of logits far from 0
    centre, scale = x.mean(), x.std()
    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(((x - centre) / scale)[:, None], positive)
    slope = float(fit.coef_[0, 0] / scale)
    return CalibrationFit(slope, float(fit.intercept_[0] - slope * centre))
