"""How likely a sample is to carry a driver, given its other drivers and covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def driver_propensity(
    x: ArrayLike, others: ArrayLike, *, strata: ArrayLike | None = None, n_folds: int = 5, seed: int = 0
) -> NDArray[np.float64]:
    """Probability of carrying a driver given all else, by logistic regression with a ridge penalty, out of fold.

    Parameters
    ----------
    x
        Who carries the driver, ``(n_samples,)``: 0, 1, or NaN where it was not called.
    others
        The other drivers and whatever else goes with it, ``(n_samples, n_columns)``; NaN counts as the column's mean.
    strata
        Group of each sample, which enters with one column each.
    n_folds
        Number of folds; fewer where there are fewer carriers, or fewer others.
    seed
        Seeds the folds.

    Returns
    -------
    ``(n_samples,)``, within (0, 1); NaN where the driver was not called.

    Raises
    ------
    ValueError
        Lengths disagree, or there are fewer than two carriers or fewer than two others.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> cause = rng.normal(size=500)
    >>> x = rng.random(500) < 1 / (1 + np.exp(-2 * cause))
    >>> p = driver_propensity(x, cause[:, None])
    >>> bool(p[cause > 1].mean() > 0.8), bool(p[cause < -1].mean() < 0.2)
    (True, True)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    values, columns = np.asarray(x, dtype=np.float64), np.array(others, dtype=np.float64)
    if columns.ndim != 2 or len(columns) != len(values):
        msg = f"others must be {len(values)} samples × columns, not {columns.shape}."
        raise ValueError(msg)
    there = ~np.isnan(columns)
    mean = np.where(there, columns, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    columns = np.where(there, columns, mean)
    if strata is not None:
        codes = np.unique(strata, return_inverse=True)[1]
        columns = np.column_stack([columns, np.eye(codes.max() + 1)[codes]])
    called = np.flatnonzero(~np.isnan(values))
    rarer = int(np.bincount(values[called].astype(np.int64), minlength=2).min())
    if rarer < 2:
        msg = f"At least two carriers and two others are needed, not {rarer}."
        raise ValueError(msg)
    folds = StratifiedKFold(min(n_folds, rarer), shuffle=True, random_state=seed)
    fitted = cross_val_predict(
        LogisticRegression(max_iter=1000), columns[called], values[called], cv=folds, method="predict_proba"
    )
    edge = 1 / (2 * len(called))
    propensity = np.full(len(values), np.nan)
    propensity[called] = np.clip(fitted[:, 1], edge, 1 - edge)
    return propensity
