"""Whether factors come back when a model is fitted again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from scwhatif.metrics._factors import check_latent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

Correlation = Literal["pearson", "spearman"]


@dataclass(frozen=True, eq=False)
class FactorStability:
    """Result of :func:`factor_stability`.

    Parameters
    ----------
    matrix
        Agreement of every two runs, ``(n_runs, n_runs)``, symmetric, with ones on the diagonal.
    mean
        Mean over pairs of runs.
    factors
        For each run, how well each of its factors comes back: the absolute correlation with its counterpart, averaged
        over the other runs; NaN for a dead one.
    """

    matrix: NDArray[np.float64]
    mean: float
    factors: tuple[NDArray[np.float64], ...]


def factor_stability(
    loadings: Sequence[ArrayLike | pd.DataFrame], *, correlation: Correlation = "pearson"
) -> FactorStability:
    r"""Agreement of factors between runs that differ by seed only, whatever their order and sign.

    For two runs with :math:`d_a` and :math:`d_b` factors that are not constant,

    .. math:: \frac{1}{\max(d_a, d_b)} \max_{m} \sum_j | \mathrm{corr}(a_j, b_{m(j)}) |

    over one-to-one matchings :math:`m`. A factor that the other run has no counterpart for counts as 0; constant ones,
    which neither run used, do not count. Two runs without any such factor agree, at 1; where only one has any, at 0.

    Parameters
    ----------
    loadings
        At least two runs, each ``(n_features, n_dims)``, rows in the same order; numbers of dimensions may differ.
        Latent values of the same cells, ``(n_cells, n_dims)``, do as well.
    correlation
        ``"pearson"`` or ``"spearman"``.

    Returns
    -------
    Agreement per pair of runs, its mean, and the part of every factor.

    Raises
    ------
    ValueError
        There are fewer than two runs, rows differ in number, values are not finite, or ``correlation`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> first = np.random.default_rng(0).normal(size=(100, 3))
    >>> stability = wi.metrics.factor_stability([first, -first[:, [2, 0, 1]], first[:, :2]])
    >>> stability.matrix.round(2)
    array([[1.  , 1.  , 0.67],
           [1.  , 1.  , 0.67],
           [0.67, 0.67, 1.  ]])
    >>> stability.factors[0].round(2)
    array([1. , 1. , 0.5])
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import rankdata

    if correlation not in get_args(Correlation):
        msg = f"correlation={correlation!r} must be one of {get_args(Correlation)}."
        raise ValueError(msg)
    runs = [check_latent(run, name=f"loadings[{i}]")[0] for i, run in enumerate(loadings)]
    if len(runs) < 2:
        msg = f"stability compares runs, and there is only {len(runs)}. Fit again with another seed."
        raise ValueError(msg)
    rows = sorted({len(run) for run in runs})
    if len(rows) > 1:
        msg = f"runs have different numbers of rows: {rows}. Give all the same features (or cells), in one order."
        raise ValueError(msg)
    if correlation == "spearman":
        runs = [rankdata(run, axis=0) for run in runs]
    live = [np.ptp(run, axis=0) > 0 for run in runs]
    unit = [_unit(run[:, used]) for run, used in zip(runs, live, strict=True)]

    matrix = np.eye(len(runs))
    found = [np.zeros(each.shape[1]) for each in unit]
    for a, b in combinations(range(len(runs)), 2):
        corr = np.minimum(np.abs(unit[a].T @ unit[b]), 1.0)
        left, right = linear_sum_assignment(corr, maximize=True)
        matched = corr[left, right]
        found[a][left] += matched / (len(runs) - 1)
        found[b][right] += matched / (len(runs) - 1)
        most = max(corr.shape)
        matrix[a, b] = matrix[b, a] = matched.sum() / most if most else 1.0
    factors = [np.full(run.shape[1], np.nan) for run in runs]
    for each, used, values in zip(factors, live, found, strict=True):
        each[used] = values
    pairs = matrix[np.triu_indices(len(runs), k=1)]
    return FactorStability(matrix, float(pairs.mean()), tuple(factors))


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred columns of unit norm."""
    centred = values - values.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=0)
