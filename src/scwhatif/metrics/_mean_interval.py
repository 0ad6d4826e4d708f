"""How far a mean over few perturbations can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mean_interval(
    values: NDArray[np.float64], *, n_boot: int, confidence: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Bootstrap interval of the mean of each row, by the expanded percentile method :cite:p:`Hesterberg2015`.

    Plain percentiles of resampled means are too close together where there are few values: resampling divides by
    :math:`n` where :math:`n - 1` is due, and knows the normal law, not Student's. Taking them at
    :math:`\alpha' = \Phi(-\sqrt{n / (n - 1)}\; t_{n-1, 1 - \alpha/2})` instead gives the width of Student's interval
    for normal values, and keeps the skewness of others.

    Parameters
    ----------
    values
        ``(n_rows, n)``.
    n_boot
        Number of resamples, the same for every row.
    confidence
        Of the interval, within (0, 1).
    rng
        Source of the resamples.

    Returns
    -------
    Low and high end, ``(n_rows,)``; NaN from fewer than two values.
    """
    from scipy.stats import norm, t

    n = values.shape[1]
    if n < 2:
        unknown = np.full(len(values), np.nan)
        return unknown, unknown
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_boot)
    tail = norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf((1 + confidence) / 2, n - 1))
    low, high = np.quantile(values @ counts.T / n, [tail, 1 - tail], axis=1)
    return low, high
