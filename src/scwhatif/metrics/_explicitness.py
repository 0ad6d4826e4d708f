"""Whether a representation as a whole tells a factor in a simple way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._auc import one_vs_rest_auc
from scwhatif.metrics._factors import check_latent, read_factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from scwhatif.metrics._factors import Discrete, Factor, Factors


def explicitness(
    z: ArrayLike | pd.DataFrame,
    factors: Factors,
    *,
    discrete: Discrete = None,
    n_folds: int = 3,
    seed: int | np.random.Generator | None = 0,
) -> pd.Series:
    r"""Explicitness: how well a linear model of all dimensions together tells each factor, on held-out cells.

    For categories, :math:`2\,\mathrm{AUC} - 1` of logistic regression, averaged over the categories of a factor, which
    is 0 at chance and 1 for perfect ranking :cite:p:`Ridgeway2018`; for a continuous factor, :math:`R^2` of ridge
    regression, which is 0 for its mean. Dimensions are scaled to unit variance; both penalties are 1. Rotating scaled,
    uncorrelated dimensions hardly changes it: it says what is there to be disentangled, not whether it is.

    Parameters
    ----------
    z
        Representation, ``(n_cells, n_dims)``, finite.
    factors
        One label per cell, whose categories are the factors, each against the rest (two categories are one factor);
        or one continuous value per cell; or a table ``(n_cells, n_factors)``, whose columns are the factors.
    discrete
        Whether factors are categories; one for all or one per factor. By default all that are not floats.
    n_folds
        Number of folds; the score is the mean over them. Categories are spread evenly.
    seed
        Seed or generator of the folds; ``None`` draws a fresh one.

    Returns
    -------
    One score per factor, float64, at most 1; take its mean. It may fall below 0.

    Raises
    ------
    ValueError
        ``z`` or ``factors`` are missing, infinite, constant or of unequal length; a category has fewer cells than
        there are folds; continuous values are given as categories or the reverse.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> angle = np.linspace(0, 6, 300)
    >>> z = np.column_stack([angle + np.sin(angle), angle - np.sin(angle)])
    >>> wi.metrics.explicitness(z, angle).round(3)
    factor    1.0
    dtype: float64
    """
    values, _ = check_latent(z)
    read = read_factors(factors, len(values), discrete, min_members=n_folds)
    scores = explicitness_of(values, read, n_folds=n_folds, rng=np.random.default_rng(seed))
    return pd.Series(scores, index=[factor.name for factor in read])


def explicitness_of(
    z: NDArray[np.float64], factors: Sequence[Factor], *, n_folds: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """:func:`explicitness` of what has been read already.

    Parameters
    ----------
    z
        ``(n_cells, n_dims)``.
    factors
        The factors.
    n_folds
        Number of folds.
    rng
        Source of the folds.

    Returns
    -------
    One score per factor.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import r2_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.zeros((n_folds, len(factors)))
    for k, factor in enumerate(factors):
        for fold, (train, test) in enumerate(split_cells(factor, n_folds, rng)):
            learner = Ridge() if factor.levels is None else LogisticRegression(max_iter=1000)
            model = make_pipeline(StandardScaler(), learner).fit(z[train], factor.values[train])
            if factor.levels is None:
                scores[fold, k] = r2_score(factor.values[test], model.predict(z[test]))
                continue
            evidence = model.decision_function(z[test])
            auc = one_vs_rest_auc(evidence.reshape(len(test), -1), factor.values[test]).to_numpy()
            # of two levels, there is evidence for the second only
            scores[fold, k] = 2 * (auc[0, 1] if factor.n_levels == 2 else np.diag(auc).mean()) - 1
    return scores.mean(axis=0)


def split_cells(
    factor: Factor, n_folds: int, rng: np.random.Generator
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and held-out cells of every fold, with the levels of a factor spread evenly.

    Parameters
    ----------
    factor
        The factor.
    n_folds
        Number of folds.
    rng
        Where the folds are drawn from.

    Returns
    -------
    Pairs of sorted row numbers.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    state = int(rng.integers(2**31))
    splitter = KFold if factor.levels is None else StratifiedKFold
    return list(splitter(n_folds, shuffle=True, random_state=state).split(factor.values, factor.values))
