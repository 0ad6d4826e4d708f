"""Which labels are taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._class_scores import share_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def confusion_table(
    codes: NDArray[np.int64],
    predicted: NDArray[np.int64],
    names: Sequence[str],
    groups: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Count each pair of true and predicted label.

    Parameters
    ----------
    codes, predicted
        True and predicted label, integers from 0, ``(n_cells,)``; every label occurs in ``codes``.
    names
        Labels in the order of their codes.
    groups
        Group of each cell, integers from 0; ``None`` if cells are independent.

    Returns
    -------
    One row per pair, true labels in turn: ``true`` and ``predicted`` (category), ``n`` (int64), ``share`` of the cells
    of the true label, and the 95 % interval ``low``, ``high`` of the share (Wilson's, at the number of independent
    cells that would be as uncertain).

    Examples
    --------
    >>> table = confusion_table(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["a", "b"])
    >>> table[["true", "predicted", "n", "share"]].round(2)
      true predicted  n  share
    0    a         a  2   0.67
    1    a         b  1   0.33
    2    b         a  0   0.00
    3    b         b  1   1.00
    """
    k = len(names)
    counts = np.zeros((k, k), dtype=np.int64)
    np.add.at(counts, (codes, predicted), 1)
    intervals = [
        share_interval(predicted[own] == label, None if groups is None else groups[own])
        for own in (codes == true for true in range(k))
        for label in range(k)
    ]
    share, low, high = np.concatenate([np.stack(each, axis=1) for each in intervals]).T
    true_codes, predicted_codes = np.divmod(np.arange(k * k), k)
    return pd.DataFrame(
        {
            "true": pd.Categorical.from_codes(true_codes, categories=list(names)),
            "predicted": pd.Categorical.from_codes(predicted_codes, categories=list(names)),
            "n": counts.ravel(),
            "share": share,
            "low": low,
            "high": high,
        }
    )
