"""What is watched while an energy model trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    precision_recall_curve,
    roc_auc_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from collections.abc import Sequence

_PER_LINE = 2000
_METRICS = ("aupr", "auroc", "f1", "ece", "brier", "calibration_slope")


def line_scores(probability: np.ndarray, label: np.ndarray, lines: np.ndarray) -> dict[str, float]:
    """Scores of predictions, each computed per cell line and averaged over the lines, whatever their size.

    Parameters
    ----------
    probability, label, lines
        Predicted probability, label (0 or 1) and cell line of every pair.

    Returns
    -------
    ``aupr``, ``auroc``, ``f1`` (at the threshold of :func:`best_threshold` on the same pairs), ``ece``, ``brier``
    and ``calibration_slope``; NaN if no line has both classes.
    """
    from scwhatif.metrics import calibration_slope, expected_calibration_error

    threshold, _ = best_threshold(probability, label, lines)
    rows = []
    for line in np.unique(lines):
        p, y = probability[lines == line], label[lines == line]
        if 0 < y.sum() < len(y):
            called = p >= threshold
            f1 = 2 * (called & (y == 1)).sum() / max(called.sum() + y.sum(), 1)
            slope = calibration_slope(y, p).slope
            ece = expected_calibration_error(y, p)
            rows.append([average_precision_score(y, p), roc_auc_score(y, p), f1, ece, brier_score_loss(y, p), slope])
    means = np.mean(rows, axis=0) if rows else np.full(len(_METRICS), np.nan)
    return dict(zip(_METRICS, means.tolist(), strict=True))


def best_threshold(probability: np.ndarray, label: np.ndarray, lines: np.ndarray) -> tuple[float, float]:
    """Probability from which on a pair is called, every line counting the same.

    Parameters
    ----------
    probability, label, lines
        Predicted probability, label (0 or 1) and cell line of every pair.

    Returns
    -------
    Threshold with the largest F1, and the one at which precision and recall differ least; 0.5 without positives.
    """
    sizes = dict(zip(*np.unique(lines, return_counts=True), strict=True))
    weight = np.array([1.0 / sizes[line] for line in lines.tolist()])
    if not 0 < label.sum() < len(label):
        return 0.5, 0.5
    precision, recall, thresholds = precision_recall_curve(label, probability, sample_weight=weight)
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[f1.argmax()]), float(thresholds[np.abs(precision - recall).argmin()])


def line_probe(codes: np.ndarray, lines: np.ndarray, *, blocks: np.ndarray | None = None, seed: int = 0) -> float:
    """How well a fresh linear classifier tells the cell line from codes it was not fitted on.

    Parameters
    ----------
    codes
        Codes of pairs, ``(n_rows, n_latent)``.
    lines
        Cell line of every pair.
    blocks
        Chromosome of every pair: half of the chromosomes then are for the fit and the other half for the score.
    seed
        Seeds the halves and the subsample.

    Returns
    -------
    Balanced accuracy, chance being 1 over the number of lines; NaN for a single line.
    """
    rng = np.random.default_rng(seed)
    known = np.unique(lines)
    if len(known) < 2:
        return float("nan")
    rows = np.concatenate([_some(np.flatnonzero(lines == line), rng) for line in known])
    codes, lines = codes[rows], lines[rows]
    fit = rng.uniform(size=len(rows)) < 0.5
    if blocks is not None and len(np.unique(blocks[rows])) > 1:
        order = rng.permutation(np.unique(blocks[rows]))
        by_block = np.isin(blocks[rows], order[: len(order) // 2])
        if all(0 < by_block[lines == line].sum() < (lines == line).sum() for line in known):
            fit = by_block
    if len(np.unique(lines[fit])) < 2 or fit.all():
        return float("nan")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, class_weight="balanced"))
    probe.fit(codes[fit], lines[fit])
    return float(balanced_accuracy_score(lines[~fit], probe.predict(codes[~fit])))


def _some(rows: np.ndarray, rng: np.random.Generator) -> Sequence[int] | np.ndarray:
    return rows if len(rows) <= _PER_LINE else rng.choice(rows, _PER_LINE, replace=False)
