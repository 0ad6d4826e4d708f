"""Where to cut a value in two."""

from __future__ import annotations

import numpy as np


def youden_threshold(values: np.ndarray, is_in: np.ndarray) -> float:
    """Threshold above which calling a cell a member maximises sensitivity plus specificity :cite:p:`Youden1950`.

    Parameters
    ----------
    values
        ``(n_cells,)``; members lie high.
    is_in
        Which cells are members, ``(n_cells,)``, bool, neither none nor all.

    Returns
    -------
    Midway between two neighbouring values, the lowest such where several do equally well; below all values if no
    threshold tells more than none.
    """
    order = np.argsort(values, kind="stable")
    ordered, members = values[order], is_in[order]
    below = np.cumsum(~members) / np.count_nonzero(~is_in) - np.cumsum(members) / np.count_nonzero(is_in)
    # a threshold can lie only between values that differ
    last = np.flatnonzero(np.diff(ordered) > 0)
    if not len(last) or below[last].max() <= 0:
        return float(np.nextafter(ordered[0], -np.inf))
    at = last[below[last].argmax()]
    middle = (ordered[at] + ordered[at + 1]) / 2
    # neighbours may be so close that their middle rounds to the upper one
    return float(middle if middle < ordered[at + 1] else ordered[at])
