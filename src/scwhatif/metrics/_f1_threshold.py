"""Where to cut a probability in two when one class is rare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._binary_labels import binary_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def f1_threshold(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | pd.Categorical | None = None) -> float:
    r"""Score from which on to call a row positive, so that :math:`F_1` is largest.

    With groups, every group weighs the same: each row counts :math:`1 / n` of its group of :math:`n` rows. Otherwise
    the largest group would set the threshold.

    Parameters
    ----------
    labels
        ``(n,)``, 0 or 1; both must occur.
    scores
        ``(n,)``, finite; high for label 1.
    groups
        ``(n,)``, for instance cell lines; ``None`` makes one group of all.

    Returns
    -------
    Rows with ``scores >= threshold`` are called positive. It lies midway between two neighbouring scores, the highest
    such where several do equally well; it is the lowest score where calling all rows positive is best.

    Raises
    ------
    ValueError
        A label is neither 0 nor 1, one of them does not occur, lengths differ, a score is not finite or a group is
        missing.

    Examples
    --------
    >>> import scwhatif as wi
    >>> round(wi.metrics.f1_threshold([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.4, 0.5, 0.6, 0.8]), 2)
    0.3
    """
    positive, values = binary_labels(labels, scores)
    weights = np.ones(len(values))
    if groups is not None:
        codes, names = pd.factorize(np.asarray(groups))
        if len(codes) != len(values) or (codes < 0).any():
            msg = f"groups must name one group for each of {len(values)} rows, none missing."
            raise ValueError(msg)
        weights = 1 / np.bincount(codes, minlength=len(names))[codes]
    order = np.argsort(-values, kind="stable")
    ordered, hit, weight = values[order], positive[order], weights[order]
    # a threshold can lie only between scores that differ, or below all of them
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true = np.cumsum(weight * hit)[last]
    f1 = 2 * true / (np.cumsum(weight)[last] + weights[positive].sum())
    # sums in another order may differ in the last digit
    at = last[np.flatnonzero(f1 >= f1.max() * (1 - 1e-12))[0]]
    if at == len(ordered) - 1:
        return float(ordered[-1])
    middle = (ordered[at] + ordered[at + 1]) / 2
    # neighbours may be so close that their middle rounds to the lower one
    return float(middle if middle > ordered[at + 1] else ordered[at])
