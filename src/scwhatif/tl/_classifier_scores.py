"""Classifier, floors and nulls side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.metrics._class_scores import SCORES, ClassScores, class_scores, score_gain, score_intervals
from scwhatif.tl._classifier_fit import make_classifier, out_of_fold
from scwhatif.tl._classifier_verdict import MatchedSets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

AUROC = SCORES.index("auroc")
# Scores closer than this are the same but for rounding.
_TIE = 1e-9


def floor_scores(
    wanted: Sequence[str],
    features: Mapping[str, NDArray[np.float64]],
    codes: NDArray[np.int64],
    folds: NDArray[np.int64],
) -> dict[str, ClassScores]:
    """Score what needs no model in the same folds.

    Parameters
    ----------
    wanted
        Names of floors.
    features
        Numbers that they are read from, ``(n_cells, n)``; none for ``"majority"``.
    codes, folds
        Label and fold of each cell.

    Returns
    -------
    Floor → scores.
    """
    scores = {}
    for floor in wanted:
        if floor == "majority":
            sizes = np.bincount(codes)
            constant = np.ones((len(codes), len(sizes)))
            scores[floor] = class_scores(constant, np.full(len(codes), sizes.argmax()), codes)
        else:
            probability = out_of_fold(make_classifier("logreg", ()), features[floor], codes, folds)
            scores[floor] = class_scores(probability, probability.argmax(axis=1), codes)
    return scores


def score_table(
    readers: Mapping[str, ClassScores],
    widths: Sequence[int],
    null: NDArray[np.float64],
    codes: NDArray[np.int64],
    held: NDArray[np.int64] | None,
) -> pd.DataFrame:
    """Classifier and floors side by side.

    Parameters
    ----------
    readers
        Scores by reader, first those of the classifier.
    widths
        Number of features each of them reads.
    null
        Scores after shuffling the labels, ``(n_permutations, 3)``; empty without a test.
    codes
        Label of each cell.
    held
        What is held out as a whole, or ``None``.

    Returns
    -------
    One row per reader; columns as :func:`scwhatif.tl.latent_classifier` describes them.
    """
    own = readers["latent"]
    rows = []
    for (name, scores), width in zip(readers.items(), widths, strict=True):
        row: dict[str, Any] = {"reader": name, "n_features": width}
        interval = score_intervals(scores, codes, held)
        for i, score in enumerate(SCORES):
            row |= {score: interval.estimate[i], f"{score}_low": interval.low[i], f"{score}_high": interval.high[i]}
        gain = score_gain(own, scores, held)
        row |= {
            column: np.nan if name == "latent" else values[AUROC]
            for column, values in zip(("gain", "gain_low", "gain_high"), gain, strict=True)
        }
        row["pval"] = np.nan
        rows.append(row)
    if len(null):
        rows[0]["pval"] = _pval(null[:, AUROC], own.estimate[AUROC])
    table = pd.DataFrame(rows)
    table["reader"] = pd.Categorical(table["reader"], categories=list(readers))
    return table


def matched_sets(drawn: NDArray[np.float64], auroc: float) -> MatchedSets:
    """Compare with random gene sets.

    Parameters
    ----------
    drawn
        Scores of each draw, ``(n_draws, 3)``.
    auroc
        That of the sets themselves.

    Returns
    -------
    The comparison.

    Raises
    ------
    ValueError
        There is no draw.
    """
    if not len(drawn):
        msg = "null_reps holds nothing; pass one array per draw, or None. A generator can be used only once."
        raise ValueError(msg)
    null = drawn[:, AUROC]
    return MatchedSets(_pval(null, auroc), float(null.mean()), len(null))


def _pval(null: NDArray[np.float64], observed: float) -> float:
    return float((1 + np.count_nonzero(null >= observed - _TIE)) / (1 + len(null)))
