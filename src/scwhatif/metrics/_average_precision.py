"""Area under the precision–recall curve at another prevalence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.metrics._binary_labels import binary_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def average_precision_at(labels: ArrayLike, scores: ArrayLike, prevalence: float | None = None) -> float:
    r"""Average precision as it would be if a share ``prevalence`` of all rows were positive.

    Precision depends on how many positives there are, so average precisions of data sets with different prevalence
    cannot be compared. Recall and false positive rate do not, and with these, over distinct scores :math:`t` from the
    highest down,

    .. math::
        AP_\pi = \sum_t (\text{TPR}_t - \text{TPR}_{t-1})
            \frac{\pi \, \text{TPR}_t}{\pi \, \text{TPR}_t + (1 - \pi) \, \text{FPR}_t}.

    A constant score has :math:`AP_\pi = \pi`.

    Parameters
    ----------
    labels
        ``(n,)``, 0 or 1; both must occur.
    scores
        ``(n,)``, finite; high for label 1.
    prevalence
        :math:`\pi`, within (0, 1). ``None`` takes that of ``labels``, which is the usual average precision.

    Returns
    -------
    The average precision, in (0, 1].

    Raises
    ------
    ValueError
        The prevalence is not within (0, 1), a label is neither 0 nor 1, one of them does not occur, lengths differ or
        a score is not finite.

    Examples
    --------
    >>> import scwhatif as wi
    >>> labels, scores = [1, 0, 1, 0, 0, 0], [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]
    >>> round(wi.metrics.average_precision_at(labels, scores), 3)
    0.833
    >>> round(wi.metrics.average_precision_at(labels, scores, 0.05), 3)
    0.587
    """
    from sklearn.metrics import average_precision_score

    positive, values = binary_labels(labels, scores)
    if prevalence is None:
        return float(average_precision_score(positive, values))
    if not 0 < prevalence < 1:
        msg = f"prevalence={prevalence} must be within (0, 1)."
        raise ValueError(msg)
    share = positive.mean()
    weights = np.where(positive, prevalence / share, (1 - prevalence) / (1 - share))
    return float(average_precision_score(positive, values, sample_weight=weights))
