"""Whether a feature's signed effect stands out among features that look like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scwhatif.metrics._matched_null import matched_null_pvalues

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Median of the absolute value of a standard normal variable.
_HALF_NORMAL_MEDIAN = 0.6744897501960817
# Degrees of freedom per matched feature of a scale estimated from logarithms: 1 / (2 var log|N|), the variance being
# π² / 8. p-values are then right to some percent down to 1e-2 for 30 to 300 matches (measured, see the tests).
_EFFICIENCY = 4 / np.pi**2


@dataclass(frozen=True, eq=False)
class SignedNull:
    """Result of :func:`signed_null_pvalues`; every array has one entry per feature, NaN where it was not eligible.

    Parameters
    ----------
    pval
        Two-sided p-value of the effect in units of :attr:`scale`.
    pval_rank
        p-value from the rank of its size among those of the matched features.
    scale
        Standard deviation of the effects of features like it.
    """

    pval: NDArray[np.float64]
    pval_rank: NDArray[np.float64]
    scale: NDArray[np.float64]


def signed_null_pvalues(
    effect: ArrayLike, covariates: ArrayLike, *, n_null: int = 100, eligible: ArrayLike | None = None
) -> SignedNull:
    r"""Compare each feature's effect with those of the features most alike in known covariates.

    Effects that may have either sign are not log-normal, as :func:`matched_null_pvalues` has it, but scatter around 0
    with a spread that depends on the covariates. That spread :math:`s_g` is the trend of :math:`\log |e|` over the
    ``n_null`` nearest features, scaled so that over all features the median of :math:`|e_g| / s_g` is that of a normal
    variable. ``pval`` is the probability of more than :math:`|e_g| / s_g` under Student's t, whose degrees of freedom
    allow for the spread being an estimate. Where the effects of most features point the same way, that is part of the
    spread: what all features do makes none stand out.

    Parameters
    ----------
    effect
        ``(n_features,)``.
    covariates
        ``(n_features, n_covariates)``.
    n_null
        Number of matched features; all others where there are fewer, and no p-value with fewer than 20.
    eligible
        Features that are tested and matched, ``(n_features,)``, bool; by default those whose effect and covariates are
        finite.

    Returns
    -------
    p-values and spread.

    Raises
    ------
    ValueError
        Shapes disagree, or an eligible feature has no effect.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> expression = rng.normal(size=300)
    >>> effect = np.exp(expression) * rng.normal(size=300)
    >>> effect[7] = -8 * np.exp(expression[7])
    >>> null = signed_null_pvalues(effect, expression[:, None])
    >>> int(null.pval.argmin()), bool(null.pval[7] < 1e-4)
    (7, True)
    """
    from scipy import stats

    values, table = np.asarray(effect, dtype=np.float64), np.asarray(covariates, dtype=np.float64)
    size = np.abs(values)
    null = matched_null_pvalues(size, table, n_null=n_null, eligible=eligible)
    ratio = size / null.expected
    known = np.isfinite(ratio)
    if not known.any():
        return SignedNull(null.pval, null.pval_rank, null.expected)
    unit = np.median(ratio[known]) / _HALF_NORMAL_MEDIAN
    if not unit > 0:
        # at least half of the features do nothing at all, so that anything else stands out
        unit = np.finfo(np.float64).tiny
    scale = null.expected * unit
    df = max(_EFFICIENCY * (null.n_matched - table.shape[1] - 1), 1.0)
    return SignedNull(2 * stats.t.sf(size / scale, df), null.pval_rank, scale)
