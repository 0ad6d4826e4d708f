"""Observed difference between carriers and others within strata."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class StratifiedDifference(NamedTuple):
    """Result of :func:`stratified_difference`; one entry per feature.

    Parameters
    ----------
    difference
        Carriers less others, NaN where no stratum holds both.
    se
        Its standard error.
    df
        Degrees of freedom of the error.
    n_carriers
        Number of carriers in which the feature was measured.
    """

    difference: NDArray[np.float64]
    se: NDArray[np.float64]
    df: NDArray[np.float64]
    n_carriers: NDArray[np.int64]


def stratified_difference(x: ArrayLike, values: ArrayLike, *, strata: ArrayLike | None = None) -> StratifiedDifference:
    """Difference between carriers of a driver and others, as least squares on carriers and strata gives it.

    Parameters
    ----------
    x
        Who carries the driver, ``(n_samples,)``: 0, 1, or NaN where it was not called.
    values
        ``(n_samples, n_features)``; NaN where not measured.
    strata
        Group of each sample; ``None`` is one group.

    Returns
    -------
    Differences, with their standard errors.

    Raises
    ------
    ValueError
        Lengths disagree.

    Examples
    --------
    >>> x, strata = [0, 1, 0, 1, 1], ["a", "a", "b", "b", "b"]
    >>> stratified_difference(x, np.array([[1.0, 3.0, 5.0, 7.0, 7.0]]).T, strata=strata).difference
    array([2.])
    """
    carrier, y = np.asarray(x, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if y.ndim != 2 or len(y) != len(carrier) or (strata is not None and len(np.asarray(strata)) != len(carrier)):
        msg = f"values must be {len(carrier)} samples × features, not {y.shape}, and strata as long."
        raise ValueError(msg)
    called = ~np.isnan(carrier)
    carrier, y = carrier[called], y[called]
    codes = np.zeros(len(y), dtype=np.int64)
    if strata is not None:
        codes = np.unique(np.asarray(strata)[called], return_inverse=True)[1]
    group = np.eye(codes.max(initial=-1) + 1)[codes]
    measured = (~np.isnan(y)).astype(np.float64)
    y = np.where(measured > 0, y, 0.0)
    n = group.T @ measured
    m = group.T @ (carrier[:, None] * measured)
    divisor = np.maximum(n, 1)
    y -= measured * (group @ ((group.T @ y) / divisor))
    product, information = carrier @ y, (m - np.square(m) / divisor).sum(axis=0)
    known = information > 0
    divisor = np.where(known, information, 1.0)
    difference = np.where(known, product / divisor, np.nan)
    left = np.square(y).sum(axis=0) - np.where(known, np.square(product) / divisor, 0.0)
    df = n.sum(axis=0) - (n > 0).sum(axis=0) - 1
    variance = np.where(known & (df > 0), np.maximum(left, 0.0) / np.maximum(df, 1) / divisor, np.nan)
    return StratifiedDifference(difference, np.sqrt(variance), df, m.sum(axis=0).astype(np.int64))
