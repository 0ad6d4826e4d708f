"""How well probabilities of pairs came out, per line and fold, and on the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics import (
    average_precision_at,
    calibration_bins,
    calibration_slope,
    expected_calibration_error,
    nadeau_bengio_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scwhatif.tl._context_splits import ContextSplit

# For each score, whether more is better; the others have a value that is right.
SCORES = {
    "aupr": True,
    "lift": True,
    "aupr_at_half": True,
    "auroc": True,
    "f1": True,
    "precision": True,
    "recall": True,
    "ece": False,
    "brier": False,
    "calibration_slope": None,
    "calibration_intercept": None,
}
# Smallest and largest value of those that have one; the others lie between 0 and 1.
_RANGE = {
    "lift": (0.0, np.inf),
    "calibration_slope": (-np.inf, np.inf),
    "calibration_intercept": (-np.inf, np.inf),
}


def score_pairs(labels: NDArray, probability: NDArray[np.float64], threshold: float) -> dict[str, float]:
    """Score the probabilities of the pairs of one line and fold.

    Parameters
    ----------
    labels
        0 or 1, both among them.
    probability
        Predicted.
    threshold
        From which on a pair is called positive; set on other pairs.

    Returns
    -------
    The scores of ``SCORES``.
    """
    from sklearn.metrics import brier_score_loss, precision_recall_fscore_support, roc_auc_score

    called = probability >= threshold
    precision, recall, f1, _ = precision_recall_fscore_support(labels, called, average="binary", zero_division=0.0)
    aupr = average_precision_at(labels, probability)
    slope, intercept = calibration_slope(labels, probability)
    return {
        "aupr": aupr,
        "lift": aupr / float(np.mean(labels)),
        "aupr_at_half": average_precision_at(labels, probability, 0.5),
        "auroc": float(roc_auc_score(labels, probability)),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
        "ece": expected_calibration_error(labels, probability),
        "brier": float(brier_score_loss(labels, probability)),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }


def summarise(table: pd.DataFrame, *, confidence: float) -> pd.DataFrame:
    """Mean of each score of each method over lines × folds.

    Parameters
    ----------
    table
        One row per line × fold × method.
    confidence
        Of the interval.

    Returns
    -------
    One row per method × score: ``method``, ``score``, ``mean``, ``low``, ``high``, ``sd`` and ``n`` (lines × folds).
    An interval ends where the range of the score does.
    """
    rows = []
    for method, of_method in table.groupby("method", observed=True, sort=False):
        for score in SCORES:
            values = of_method[score].to_numpy(dtype=np.float64)
            limits = _RANGE.get(score, (0.0, 1.0))
            rows.append({"method": method, "score": score} | _interval(values, of_method, confidence, limits))
    return _categories(pd.DataFrame(rows), table)


def differences(table: pd.DataFrame, *, confidence: float) -> pd.DataFrame:
    """Paired differences of each score between every two methods.

    Parameters
    ----------
    table
        One row per line × fold × method.
    confidence
        Of the interval.

    Returns
    -------
    One row per method × other method × score that has a direction: ``method``, ``reference``, ``score``, ``mean``
    (method minus reference), ``low``, ``high``, ``sd``, ``n``, and ``share_better``, the share of lines × folds in
    which the method is better. An interval ends where the range of a difference does.
    """
    methods = list(table["method"].cat.categories)
    wide = table.pivot(index=["cell_line", "fold"], columns="method")
    sizes = table.drop_duplicates(["cell_line", "fold"]).set_index(["cell_line", "fold"]).loc[wide.index]
    rows = []
    for method in methods:
        for reference in methods:
            if method == reference:
                continue
            for score, more_is_better in SCORES.items():
                if more_is_better is None:
                    continue
                values = (wide[score, method] - wide[score, reference]).to_numpy(dtype=np.float64)
                better = values > 0 if more_is_better else values < 0
                least, most = _RANGE.get(score, (0.0, 1.0))
                row = {"method": method, "reference": reference, "score": score}
                row |= _interval(values, sizes, confidence, (least - most, most - least))
                rows.append(row | {"share_better": float(better.mean())})
    columns = ["method", "reference", "score", "mean", "low", "high", "sd", "n", "share_better"]
    return _categories(pd.DataFrame(rows, columns=columns), table)


def reliability(
    labels: NDArray, predicted: pd.DataFrame, splits: list[ContextSplit], *, n_bins: int = 10
) -> pd.DataFrame:
    """Predicted against observed in bins, per method and cell line, all folds of a line together.

    Parameters
    ----------
    labels
        0 or 1, of all pairs.
    predicted
        Probability of each pair by each method, from the split that holds it out.
    splits
        The splits.
    n_bins
        Number of bins, of about equally many pairs.

    Returns
    -------
    One row per method × line × bin: ``method``, ``cell_line``, ``predicted``, ``observed``, ``n``.
    """
    parts = []
    lines = list(dict.fromkeys(split.cell_line for split in splits))
    for method in predicted.columns:
        for line in lines:
            rows = np.concatenate([split.test for split in splits if split.cell_line == line])
            bins = calibration_bins(labels[rows], predicted[method].to_numpy()[rows], n_bins=n_bins)
            bins.insert(0, "cell_line", line)
            bins.insert(0, "method", method)
            parts.append(bins)
    table = pd.concat(parts, ignore_index=True)
    table["method"] = pd.Categorical(table["method"], categories=list(predicted.columns))
    table["cell_line"] = pd.Categorical(table["cell_line"], categories=lines)
    return table


def _interval(
    values: NDArray[np.float64], sizes: pd.DataFrame, confidence: float, limits: tuple[float, float]
) -> dict[str, float]:
    """Mean over lines × folds, of which any two share training pairs; Student's interval knows of no limits."""
    # an infinite slope has no mean
    finite = np.where(np.isfinite(values), values, np.nan)
    mean, low, high = nadeau_bengio_interval(
        finite, n_train=sizes["n_train"].to_numpy(), n_test=sizes["n"].to_numpy(), confidence=confidence
    )
    there = finite[~np.isnan(finite)]
    sd = float(there.std(ddof=1)) if len(there) > 1 else float("nan")
    low, high = np.clip([low, high], *limits)
    return {"mean": float(mean), "low": float(low), "high": float(high), "sd": sd, "n": len(there)}


def _categories(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    for column, names in (
        ("method", table["method"].cat.categories),
        ("reference", table["method"].cat.categories),
        ("score", list(SCORES)),
    ):
        if column in rows:
            rows[column] = pd.Categorical(rows[column], categories=names)
    return rows
