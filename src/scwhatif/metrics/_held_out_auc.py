"""What choosing the best of many dimensions is worth on cells that had no part in the choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.stats import rankdata, t

from scwhatif.metrics._auc import auc_of_ranks, column_auc, folded
from scwhatif.metrics._youden import youden_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONFIDENCE = 0.95


class HeldOut(NamedTuple):
    """Result of :func:`held_out_auc`, per label ``(n_labels,)``.

    Parameters
    ----------
    auc
        Mean over the folds that hold the label.
    low, high
        Its 95 % interval.
    n_folds
        Number of these folds.
    sensitivity, specificity
        Share of the label's cells, and of all others, that the training part's threshold calls rightly, mean over
        the folds.
    chosen
        Column that each fold chose, ``(n_folds, n_labels)``, -1 where a fold does not hold the label.
    """

    auc: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_folds: NDArray[np.int64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    chosen: NDArray[np.int64]


def held_out_auc(values: Any, codes: NDArray[np.int64], n_labels: int, folds: NDArray[np.int64]) -> HeldOut:
    r"""Choose column and direction for each label on all folds but one, and score the choice on that one.

    A choice that is no better than chance scores .5 however many columns there were to choose from. The interval is
    the corrected resampled t of :cite:t:`Nadeau2003`: with mean :math:`m` and variance :math:`s^2` over :math:`k` of
    :math:`K` folds,

    .. math::
        m \pm t_{k - 1} \sqrt{\left(\frac{1}{k} + \frac{1}{K - 1}\right) s^2},

    because training parts that share most of their cells make folds alike. It is cut off at 0 and 1, and has no width
    where all folds agree.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, array or sparse matrix.
    codes
        Label of each cell, integers from 0 to ``n_labels - 1``.
    n_labels
        Number of labels.
    folds
        Fold of each cell, as from :func:`held_out_folds`.

    Returns
    -------
    Scores per label.
    """
    rows = values.tocsr() if sparse.issparse(values) else values
    n_all = int(folds.max()) + 1
    scores = np.full((3, n_all, n_labels), np.nan)
    chosen = np.full((n_all, n_labels), -1)
    for fold in range(n_all):
        test = folds == fold
        auc = column_auc(rows[~test], codes[~test], n_labels)
        best = folded(auc).argmax(axis=0)
        present = np.unique(codes[test])
        chosen[fold, present] = best[present]
        for label in present:
            direction = 1.0 if auc[best[label], label] >= 0.5 else -1.0
            column = direction * _dense_column(rows, best[label])
            is_in = codes == label
            threshold = youden_threshold(column[~test], is_in[~test])
            called, truth = column[test] > threshold, is_in[test]
            ranks = rankdata(column[test])[:, None]
            scores[:, fold, label] = (
                auc_of_ranks(ranks, truth.astype(np.int64), 2)[0, 1],
                called[truth].mean(),
                1 - called[~truth].mean(),
            )
    n_folds = np.count_nonzero(chosen >= 0, axis=0)
    auc, sensitivity, specificity = np.nanmean(scores, axis=1)
    scale = np.sqrt(1 / n_folds + 1 / (n_all - 1)) * t.ppf((1 + _CONFIDENCE) / 2, n_folds - 1)
    half = scale * np.nanstd(scores[0], axis=0, ddof=1)
    return HeldOut(
        auc=auc,
        low=np.maximum(auc - half, 0),
        high=np.minimum(auc + half, 1),
        n_folds=n_folds,
        sensitivity=sensitivity,
        specificity=specificity,
        chosen=chosen,
    )


def _dense_column(values: Any, j: int) -> NDArray[np.float64]:
    return values[:, [j]].toarray().ravel() if sparse.issparse(values) else np.asarray(values[:, j], dtype=np.float64)
