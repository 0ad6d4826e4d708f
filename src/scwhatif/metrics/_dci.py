"""Disentanglement, completeness and informativeness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._explicitness import split_cells
from scwhatif.metrics._factors import check_latent, read_factors
from scwhatif.metrics._mutual_information import entropy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from scwhatif.metrics._factors import Discrete, Factor, Factors

# More cells per tree change the importances of a few dozen dimensions by a few hundredths, and cost in proportion.
_CELLS_PER_TREE = 2000
_MIN_LEAF = 5
_MAX_DEPTH = 8


@dataclass(frozen=True, eq=False)
class DCI:
    """Result of :func:`dci`.

    Parameters
    ----------
    importance
        Dimensions × factors; every column sums to 1, or to 0 where no dimension helped.
    disentanglement
        One score per dimension, NaN for a dimension of no importance and wherever there is a single factor.
    completeness
        One score per factor.
    informativeness
        One score per factor, on held-out cells.
    """

    importance: pd.DataFrame
    disentanglement: pd.Series
    completeness: pd.Series
    informativeness: pd.Series

    @property
    def mean_disentanglement(self) -> float:
        """Mean over dimensions, weighted by their importance; 0 if none has any, NaN with a single factor."""
        weight = self.importance.sum(axis=1)
        if self.importance.shape[1] == 1:
            return float("nan")
        return float((self.disentanglement * weight).sum() / weight.sum()) if weight.sum() > 0 else 0.0

    @property
    def mean_completeness(self) -> float:
        """Mean over factors."""
        return float(self.completeness.mean())

    @property
    def mean_informativeness(self) -> float:
        """Mean over factors."""
        return float(self.informativeness.mean())


def dci(
    z: ArrayLike | pd.DataFrame,
    factors: Factors,
    *,
    discrete: Discrete = None,
    n_trees: int = 10,
    n_folds: int = 3,
    seed: int | np.random.Generator | None = 0,
    n_jobs: int | None = None,
) -> DCI:
    r"""Disentanglement, completeness and informativeness, from the importances of random forests.

    A forest predicts each factor :math:`k` of :math:`K` from all :math:`D` dimensions. With the importance
    :math:`R_{ik}` of dimension :math:`i` (decrease of impurity, summing to 1 over dimensions, averaged over folds),
    :math:`p_{ik} = R_{ik} / \sum_l R_{il}` and :math:`q_{ik} = R_{ik} / \sum_j R_{jk}` :cite:p:`Eastwood2018`,

    .. math::

        \mathrm{D}_i &= 1 + \sum_k p_{ik} \log_K p_{ik}, \qquad
        \mathrm{D} = \sum_i \frac{\sum_k R_{ik}}{\sum_{jk} R_{jk}} \mathrm{D}_i \\
        \mathrm{C}_k &= 1 + \sum_i q_{ik} \log_D q_{ik}.

    D is 1 when no dimension serves two factors, C when no factor needs two dimensions. I is how well the forest
    predicts held-out cells: balanced accuracy of categories, scaled to 0 at chance and 1, or :math:`R^2` of a
    continuous factor. Categories weigh equally however rare. Every split considers all dimensions: were it offered
    only some, as is usual, dimensions of pure noise would be credited whenever the one that matters is not among them.
    Trees see at most 2000 cells each, are at most 8 splits deep, and have at least 5 cells in a leaf.

    Parameters
    ----------
    z
        Representation, ``(n_cells, n_dims)``, finite.
    factors
        One label per cell, whose categories are the factors, each against the rest (two categories are one factor);
        or one continuous value per cell; or a table ``(n_cells, n_factors)``, whose columns are the factors.
    discrete
        Whether factors are categories; one for all or one per factor. By default all that are not floats.
    n_trees
        Trees per fold and factor.
    n_folds
        Number of folds.
    seed
        Seed or generator of folds and forests; ``None`` draws a fresh one.
    n_jobs
        Trees grown at the same time, as in joblib; it does not change the result.

    Returns
    -------
    Importances and the three scores. Trees split at thresholds, so increasing maps of a dimension change them little.

    Raises
    ------
    ValueError
        ``z`` or ``factors`` are missing, infinite, constant or of unequal length; a category has fewer cells than
        there are folds; continuous values are given as categories or the reverse.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> rng = np.random.default_rng(0)
    >>> label = rng.choice(["B", "NK", "T"], 300)
    >>> z = np.column_stack([label == "B", label == "NK", label == "T"]) + 0.1 * rng.normal(size=(300, 3))
    >>> scores = wi.metrics.dci(z, label)
    >>> round(scores.mean_informativeness, 2)
    1.0
    >>> scores.importance.idxmax()
    B     0
    NK    1
    T     2
    dtype: int64
    """
    values, dims = check_latent(z)
    read = read_factors(factors, len(values), discrete, min_members=n_folds)
    rng = np.random.default_rng(seed)
    return dci_of(values, read, dims=dims, n_trees=n_trees, n_folds=n_folds, rng=rng, n_jobs=n_jobs)


def dci_of(
    z: NDArray[np.float64],
    factors: Sequence[Factor],
    *,
    dims: pd.Index | None = None,
    n_trees: int,
    n_folds: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> DCI:
    """:func:`dci` of what has been read already.

    Parameters
    ----------
    z
        ``(n_cells, n_dims)``.
    factors
        The factors.
    dims
        Names of the dimensions.
    n_trees, n_folds, n_jobs
        As in :func:`dci`.
    rng
        Source of folds and forests.

    Returns
    -------
    Importances and the three scores.
    """
    importance, informativeness = _importances(z, factors, n_trees=n_trees, n_folds=n_folds, rng=rng, n_jobs=n_jobs)
    per_dim, per_factor = entropy_scores(importance)
    names = [factor.name for factor in factors]
    return DCI(
        importance=pd.DataFrame(importance, index=dims, columns=names),
        disentanglement=pd.Series(per_dim, index=dims),
        completeness=pd.Series(per_factor, index=names),
        informativeness=pd.Series(informativeness, index=names),
    )


def entropy_scores(importance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Disentanglement of every dimension and completeness of every factor.

    Parameters
    ----------
    importance
        ``(n_dims, n_factors)``, not negative.

    Returns
    -------
    ``(n_dims,)``, NaN without importance or with a single factor, and ``(n_factors,)``, 0 without importance.
    """
    n_dims, n_factors = importance.shape
    per_dim, per_factor = np.full(n_dims, np.nan), np.zeros(n_factors)
    used, told = importance.sum(axis=1) > 0, importance.sum(axis=0) > 0
    if n_factors > 1:
        per_dim[used] = 1 - entropy(importance[used]) / np.log(n_factors)
    # a single dimension is complete for whatever it tells
    per_factor[told] = 1 - entropy(importance[:, told], axis=0) / np.log(max(n_dims, 2))
    return per_dim, per_factor


def _importances(
    z: NDArray[np.float64],
    factors: Sequence[Factor],
    *,
    n_trees: int,
    n_folds: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each dimension contributes to a forest's prediction of each factor, and how good that is held out."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.metrics import r2_score, recall_score

    # what trees work in; converted once
    z32 = z.astype(np.float32)
    importance, informativeness = np.zeros((z.shape[1], len(factors))), np.zeros(len(factors))
    for k, factor in enumerate(factors):
        predicted = np.empty_like(factor.values)
        for train, test in split_cells(factor, n_folds, rng):
            forest = RandomForestRegressor if factor.levels is None else RandomForestClassifier
            model = forest(
                n_trees,
                max_features=None,
                max_depth=_MAX_DEPTH,
                min_samples_leaf=_MIN_LEAF,
                max_samples=min(_CELLS_PER_TREE, len(train)),
                random_state=int(rng.integers(2**31)),
                n_jobs=n_jobs,
                **({} if factor.levels is None else {"class_weight": "balanced"}),
            ).fit(z32[train], factor.values[train])
            importance[:, k] += model.feature_importances_ / n_folds
            predicted[test] = model.predict(z32[test])
        if factor.levels is None:
            informativeness[k] = r2_score(factor.values, predicted)
        else:
            chance = 1 / factor.n_levels
            accuracy = recall_score(factor.values, predicted, average="macro")
            informativeness[k] = (accuracy - chance) / (1 - chance)
    total = importance.sum(axis=0)
    return importance / np.where(total > 0, total, 1), informativeness
