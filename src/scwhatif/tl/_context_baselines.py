"""What a model of pairs has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from numpy.typing import NDArray

Baseline = Literal[
    "prevalence",
    "distance",
    "lookup",
    "logistic",
    "logistic_rank",
    "gradient_boosting",
    "gradient_boosting_rank",
    "gradient_boosting_tuned",
    "gradient_boosting_both",
]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

_TUNED: dict[str, Any] = {
    "max_iter": 300,
    "learning_rate": 0.05,
    "max_features": 0.3,
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "early_stopping": False,
}
# Pairs of a locus that the mean label counts as many as in the look-up.
_PRIOR_PAIRS = 1.0


def rank_within(values: NDArray, groups: NDArray) -> NDArray[np.float64]:
    """Rank every feature within each group of rows, without labels.

    Parameters
    ----------
    values
        ``(n_rows, n_features)``, NaN where not measured.
    groups
        Group of each row, such as its cell line.

    Returns
    -------
    Same shape: share of the measured rows of the group that lie below, ties in their middle; NaN where not measured.
    """
    ranked = np.full(values.shape, np.nan)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        ranks = rankdata(values[rows], axis=0, nan_policy="omit")
        measured = np.maximum((~np.isnan(values[rows])).sum(axis=0), 1)
        ranked[rows] = (ranks - 0.5) / measured
    return ranked


def baseline_inputs(
    names: list[str], x: NDArray, lines: NDArray, distance: NDArray | None, places: NDArray[np.int64] | None
) -> dict[str, NDArray]:
    """What each baseline reads of all pairs.

    Parameters
    ----------
    names
        Baselines.
    x
        Features, ``(n_pairs, n_features)``.
    lines
        Cell line of each pair.
    distance
        Between enhancer and promoter, in base pairs.
    places
        From :func:`scwhatif.tl._context_splits.loci`.

    Returns
    -------
    A matrix per baseline.

    Raises
    ------
    ValueError
        A baseline is unknown, or there is nothing for it to read.
    """
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        msg = f"baselines={unknown} must be of {list(BASELINES)}."
        raise ValueError(msg)
    inputs: dict[str, NDArray] = {}
    ranked = rank_within(x, lines) if any(name.endswith(("_rank", "_tuned", "_both")) for name in names) else x
    for name in names:
        if name == "distance":
            if distance is None:
                msg = "baseline 'distance' needs obs['distance'], in base pairs; write it, or leave the baseline out."
                raise ValueError(msg)
            inputs[name] = np.log10(1 + distance)[:, None]
        elif name == "lookup":
            if places is None:
                msg = "baseline 'lookup' needs the places of enhancers and promoters in obs; leave it out."
                raise ValueError(msg)
            inputs[name] = places
        elif name == "gradient_boosting_both":
            inputs[name] = np.hstack([x, ranked])
        else:
            inputs[name] = ranked if name.endswith(("_rank", "_tuned")) else x
    return inputs


def make_baseline(name: str, seed: int) -> Any:
    """Make a classifier of scikit-learn's kind.

    Parameters
    ----------
    name
        Of the baseline.
    seed
        Seeds the trees.

    Returns
    -------
    The classifier, not fitted.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    if name == "prevalence":
        return DummyClassifier(strategy="prior")
    if name == "lookup":
        return LocusLookup()
    if name == "gradient_boosting_both":
        trees = HistGradientBoostingClassifier(random_state=seed, **_TUNED)
        halves = [(f"half_{i}", make_pipeline(FunctionTransformer(_half, kw_args={"i": i}), trees)) for i in (0, 1)]
        return VotingClassifier(halves, voting="soft")
    if name.startswith("gradient_boosting"):
        settings = _TUNED if name.endswith("_tuned") else {}
        return HistGradientBoostingClassifier(random_state=seed, **settings)
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(imputer, StandardScaler(), LogisticRegression(max_iter=1000))


def _half(values: NDArray, *, i: int) -> NDArray:
    """First or second half of the columns."""
    return np.split(values, 2, axis=1)[i]


class LocusLookup:
    """Remember how often each locus interacts, and read no feature.

    It predicts nothing of new loci, so what it scores is what a split gives away.
    """

    def fit(self, places: NDArray[np.int64], labels: NDArray) -> LocusLookup:
        """Count.

        Parameters
        ----------
        places
            Loci of the pairs, ``(n_pairs, n_ends)``.
        labels
            0 or 1.

        Returns
        -------
        Itself.
        """
        self.mean_ = float(np.mean(labels))
        self.shares_ = []
        for column in places.T:
            names, codes = np.unique(column, return_inverse=True)
            share = (np.bincount(codes, labels) + _PRIOR_PAIRS * self.mean_) / (np.bincount(codes) + _PRIOR_PAIRS)
            self.shares_.append((names, share))
        return self

    def predict_proba(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean over the ends of a pair of the share of interacting pairs.

        Parameters
        ----------
        places
            Loci of the pairs, ``(n_pairs, n_ends)``.

        Returns
        -------
        Probability of 0 and of 1, ``(n_pairs, 2)``.
        """
        found = np.full(places.shape, self.mean_)
        for i, (names, share) in enumerate(self.shares_):
            at = np.minimum(np.searchsorted(names, places[:, i]), len(names) - 1)
            known = names[at] == places[:, i]
            found[known, i] = share[at[known]]
        positive = found.mean(axis=1)
        return np.column_stack([1 - positive, positive])
