"""How well labels are predicted, with intervals that know which cells belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import norm, rankdata, t

from scwhatif.metrics._auc import auc_of_ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What is reported of every classifier, in this order.
SCORES = ("accuracy", "balanced_accuracy", "auroc")
_CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Estimates with their 95 % intervals, all of one shape.

    Parameters
    ----------
    estimate
        What was estimated.
    low, high
        Ends of the interval.
    """

    estimate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class ClassScores(NamedTuple):
    """Result of :func:`class_scores`, in the order of ``SCORES``.

    Parameters
    ----------
    estimate
        ``(3,)``.
    influence
        What each cell adds to the deviation of each score from its true value, to first order, ``(3, n_cells)``.
    """

    estimate: NDArray[np.float64]
    influence: NDArray[np.float64]


def class_estimates(
    probability: NDArray[np.float64], predicted: NDArray[np.int64], codes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Accuracy, balanced accuracy, and area under the ROC curve of each label against the rest, mean over labels.

    Parameters
    ----------
    probability
        Evidence for each label, ``(n_cells, n_labels)``; only its order over the cells counts.
    predicted, codes
        Predicted and true label, integers from 0, ``(n_cells,)``; every label occurs in ``codes``.

    Returns
    -------
    ``(3,)``, in the order of ``SCORES``.
    """
    n_labels = probability.shape[1]
    hit = predicted == codes
    recall = np.bincount(codes, weights=hit, minlength=n_labels) / np.bincount(codes, minlength=n_labels)
    auc = auc_of_ranks(rankdata(probability, axis=0), codes, n_labels)
    return np.array([hit.mean(), recall.mean(), auc.diagonal().mean()])


def class_scores(
    probability: NDArray[np.float64], predicted: NDArray[np.int64], codes: NDArray[np.int64]
) -> ClassScores:
    """:func:`class_estimates` with the influence of each cell, from which follow intervals and comparisons.

    That of the area under the ROC curve is the placement of the cell among those it is compared with (DeLong et al.,
    1988; Obuchowski, 1997, for cells that come in groups).

    Parameters
    ----------
    probability, predicted, codes
        As for :func:`class_estimates`.

    Returns
    -------
    Estimates and influences.
    """
    estimate = class_estimates(probability, predicted, codes)
    n_cells, n_labels = probability.shape
    hit = (predicted == codes).astype(np.float64)
    of_accuracy = (hit - estimate[0]) / n_cells
    of_balanced, of_auroc = np.zeros((2, n_cells))
    for label in range(n_labels):
        own = codes == label
        of_balanced[own] = (hit[own] - hit[own].mean()) / own.sum() / n_labels
        score = probability[:, label]
        rank = rankdata(score)
        for part in (own, ~own):
            # share of the other part that lies below the cell, ties one half
            below = (rank[part] - rankdata(score[part])) / (n_cells - part.sum())
            deviation = below - below.mean()
            of_auroc[part] += (deviation if part is own else -deviation) / part.sum() / n_labels
    return ClassScores(estimate, np.stack([of_accuracy, of_balanced, of_auroc]))


def score_intervals(scores: ClassScores, codes: NDArray[np.int64], groups: NDArray[np.int64] | None) -> Interval:
    r"""Wilson intervals of scores at the number of independent cells that would be as uncertain.

    With the influences summed within each group, variance is that between groups, and

    .. math:: n_\text{eff} = \frac{\hat p (1 - \hat p)}{\mathrm{Var}(\hat p)},

    so that cells that stand or fall together do not count as many, and copies of one cell, of which a rule that says
    the same of all gets a fixed share right, count as more. With groups, the normal quantile is replaced by that of
    Student's t with one degree of freedom less than there are groups. A score of 0 or 1, of which the variance says
    nothing, counts groups: those of the rarest label, or all for the accuracy.

    Parameters
    ----------
    scores
        From :func:`class_scores`.
    codes
        Label of each cell.
    groups
        Group of each cell, integers from 0; ``None`` if cells are independent.

    Returns
    -------
    Each ``(3,)``.
    """
    units = np.arange(len(codes)) if groups is None else groups
    rarest = min(len(np.unique(units[codes == label])) for label in np.unique(codes))
    n_units = np.array([len(np.unique(units)), rarest, rarest])
    return _wilson(scores.estimate, scores.influence, groups, n_units)


def score_gain(one: ClassScores, other: ClassScores, groups: NDArray[np.int64] | None) -> Interval:
    """By how much one classifier scores higher than another on the same cells.

    Parameters
    ----------
    one, other
        From :func:`class_scores`.
    groups
        As for :func:`score_intervals`.

    Returns
    -------
    Each ``(3,)``.
    """
    gain = one.estimate - other.estimate
    variance, quantile = _between_groups(one.influence - other.influence, groups)
    half = quantile * np.sqrt(variance)
    return Interval(gain, gain - half, gain + half)


def share_interval(hit: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Interval:
    """Share of cells of which something holds, as :func:`score_intervals` does it.

    Parameters
    ----------
    hit
        Of which cells, ``(n_cells,)``.
    groups
        Group of each cell, or ``None``: then this is Wilson's interval as it is known.

    Returns
    -------
    Each ``(1,)``.
    """
    estimate = np.array([hit.mean()])
    influence = (hit - estimate[:, None]) / len(hit)
    n_units = len(hit) if groups is None else len(np.unique(groups))
    return _wilson(estimate, influence, groups, np.array([n_units]))


def _between_groups(
    influence: NDArray[np.float64], groups: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], float]:
    """Variance of the sum of each row of influences, and the quantile for a 95 % interval."""
    upper = (1 + _CONFIDENCE) / 2
    if groups is None:
        return np.square(influence).sum(axis=1), float(norm.ppf(upper))
    names, codes = np.unique(groups, return_inverse=True)
    n = len(names)
    sums = np.stack([np.bincount(codes, weights=row, minlength=n) for row in influence])
    return np.square(sums).sum(axis=1) * n / (n - 1), float(t.ppf(upper, n - 1))


def _wilson(
    p: NDArray[np.float64], influence: NDArray[np.float64], groups: NDArray[np.int64] | None, n_units: NDArray[np.int64]
) -> Interval:
    variance, quantile = _between_groups(influence, groups)
    spread = p * (1 - p)
    # rounding must not make a score of 1 uncertain by a little, which would pass for much evidence
    certain = spread < 1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.where(certain, n_units, spread / variance)
    shrink = 1 + quantile**2 / n
    centre = (p + quantile**2 / (2 * n)) / shrink
    half = quantile * np.sqrt(np.maximum(spread, 0) / n + quantile**2 / (4 * n**2)) / shrink
    return Interval(p, np.where(p < 1e-12, 0.0, centre - half), np.where(p > 1 - 1e-12, 1.0, centre + half))
