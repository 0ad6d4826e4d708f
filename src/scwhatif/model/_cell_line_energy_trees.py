"""Gradient boosted trees beside the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

_LOGIT_BOUND = 12.0
_DEFAULTS: dict[str, Any] = {
    "max_iter": 300,
    "learning_rate": 0.05,
    "max_leaf_nodes": 31,
    "max_features": 0.3,
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "early_stopping": False,
}


def fit_trees(features: np.ndarray, label: np.ndarray, *, seed: int = 0, **params: Any) -> Any:
    """Fit gradient boosted trees; the defaults suit some ten thousand pairs with few positives.

    Parameters
    ----------
    features
        ``(n_pairs, n_features)``, NaN where not measured.
    label
        0 or 1.
    seed
        Seeds the trees.
    **params
        Arguments of :class:`sklearn.ensemble.HistGradientBoostingClassifier`.

    Returns
    -------
    The fitted classifier.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, **{**_DEFAULTS, **params}).fit(features, label)


def tree_logit(trees: HistGradientBoostingClassifier, features: np.ndarray) -> np.ndarray:
    """Logit of pairs.

    Parameters
    ----------
    trees
        A fitted classifier.
    features
        ``(n_pairs, n_features)``, NaN where not measured.

    Returns
    -------
    ``(n_pairs,)``, between -12 and 12.
    """
    return np.clip(trees.decision_function(features), -_LOGIT_BOUND, _LOGIT_BOUND)
