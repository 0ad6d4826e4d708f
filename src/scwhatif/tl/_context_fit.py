"""Fit every method to one held-out line × fold."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.metrics import f1_threshold
from scwhatif.tl._context_baselines import make_baseline
from scwhatif.tl._context_scores import score_pairs

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scwhatif.tl._context_splits import ContextSplit


@dataclass(frozen=True, eq=False)
class ContextFit:
    """What fits have in common.

    Parameters
    ----------
    labels
        0, 1 or NaN, of all pairs, ``(n_pairs,)``, float64.
    lines
        Cell line of each pair.
    inputs
        What each baseline reads.
    model_class
        Class of the model, or ``None`` for baselines only.
    model, setup, train
        Arguments of its class, of ``setup_anndata`` and of ``train``.
    seed
        Of the fits.
    """

    labels: NDArray[np.float64]
    lines: NDArray
    inputs: dict[str, NDArray]
    model_class: Any
    model: dict[str, Any]
    setup: dict[str, Any]
    train: dict[str, Any]
    seed: int

    @property
    def methods(self) -> list[str]:
        """Names of the methods, the model last."""
        return [*self.inputs, *([] if self.model_class is None else [self.model_class.__name__])]


def fit_context(data: AnnData | None, fit: ContextFit, split: ContextSplit) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit and score all methods on one split.

    Parameters
    ----------
    data
        What the model reads; not written to.
    fit
        Settings.
    split
        The split.

    Returns
    -------
    One row of scores per method, and the probability of each test pair by each method.
    """
    labels = fit.labels
    rows, predicted = [], {}
    seen = np.concatenate([split.validation, split.test])
    for method in fit.methods:
        if method in fit.inputs:
            classifier = make_baseline(method, fit.seed)
            classifier.fit(fit.inputs[method][split.train], labels[split.train].astype(np.int64))
            probability = classifier.predict_proba(fit.inputs[method][seen])[:, 1]
        else:
            probability = _fit_model(data, fit, split, seen)
        at_validation, at_test = np.split(probability.astype(np.float64), [len(split.validation)])
        validation_labels = labels[split.validation].astype(np.int64)
        threshold = f1_threshold(validation_labels, at_validation, fit.lines[split.validation])
        rows.append(
            {
                "cell_line": split.cell_line,
                "fold": split.fold,
                "method": method,
                "n_train": len(split.train),
                "n": len(split.test),
                "prevalence": float(labels[split.test].mean()),
                **score_pairs(labels[split.test].astype(np.int64), at_test, threshold),
                "threshold": threshold,
                "validation_aupr": _macro_aupr(validation_labels, at_validation, fit.lines[split.validation]),
            }
        )
        predicted[method] = at_test
    return pd.DataFrame(rows), pd.DataFrame(predicted, index=split.test)


def with_seed(function: Any, arguments: dict[str, Any], seed: int) -> dict[str, Any]:
    """Add the seed to arguments, where there is such an argument and it is not set.

    Parameters
    ----------
    function
        What takes the arguments.
    arguments
        By name.
    seed
        The seed.

    Returns
    -------
    The arguments.
    """
    return ({"seed": seed} if "seed" in signature(function).parameters else {}) | arguments


def _fit_model(data: Any, fit: ContextFit, split: ContextSplit, seen: NDArray[np.int64]) -> NDArray[np.float64]:
    from scwhatif._compat import registered, seeded
    from scwhatif.tl._beta_fit import alone, shallow

    pairs = shallow(data)
    # the model cannot see what it is scored on: only labels of training and validation pairs are left
    hidden = np.full(pairs.n_obs, np.nan)
    for part in (split.train, split.validation):
        hidden[part] = fit.labels[part]
    pairs.obs[fit.setup["label_key"]] = hidden
    rest = np.setdiff1d(np.arange(pairs.n_obs), np.concatenate([split.train, split.validation]))
    with alone(), seeded(fit.seed), registered(fit.model_class, pairs, **fit.setup):
        model = fit.model_class(pairs, **with_seed(fit.model_class, fit.model, fit.seed))
        model.train(
            **{"enable_progress_bar": False} | with_seed(fit.model_class.train, fit.train, fit.seed),
            external_indexing=[split.train, split.validation, rest],
        )
        return np.asarray(model.predict_proba(indices=seen), dtype=np.float64)


def _macro_aupr(labels: NDArray[np.int64], probability: NDArray[np.float64], lines: NDArray) -> float:
    """Mean over the lines that have both labels."""
    from scwhatif.metrics import average_precision_at

    found = [
        average_precision_at(labels[lines == line], probability[lines == line])
        for line in np.unique(lines)
        if len(np.unique(labels[lines == line])) == 2
    ]
    return float(np.mean(found)) if found else float("nan")
