"""Area under the ROC curve for every pair of labels."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from scwhatif.metrics._auc import auc_of_ranks, folded
from scwhatif.metrics._labelled import labelled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def pairwise_auc(values: ArrayLike | pd.DataFrame, labels: ArrayLike | pd.Categorical) -> pd.DataFrame:
    r"""Area under the ROC curve of every column of ``values`` for every pair of labels, all other cells left out.

    A dimension that separates two labels need not separate either from all others. The p-value is that of the
    two-sided Mann–Whitney test with the normal law (corrected for ties and continuity), times the number of columns
    (Bonferroni), so that it holds for all columns of a pair at once. It takes cells as independent.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, finite.
    labels
        ``(n_cells,)``, none missing; categories without cells are left out.

    Returns
    -------
    One row per pair and column: ``label`` and ``other`` (in the order of the categories), ``dimension`` (position or
    name of the column), ``auc`` (in [.5, 1], whichever end separates), ``direction`` (1: ``label`` lies higher than
    ``other``, -1: lower), ``pval`` (corrected for the number of columns).

    Raises
    ------
    ValueError
        Fewer than two labels have cells, lengths differ, or something is missing or infinite.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.pairwise_auc([[1.0], [2.0], [3.0], [4.0], [8.0]], ["a", "a", "b", "b", "c"]).round(3)
      label other  dimension  auc  direction   pval
    0     a     b          0  1.0         -1  0.245
    1     a     c          0  1.0         -1  0.540
    2     b     c          0  1.0         -1  0.540
    """
    given = labelled(values, labels)
    n_dims = given.values.shape[1]
    dims = np.arange(n_dims) if given.dims is None else given.dims
    frames = []
    for (i, label), (j, other) in combinations(enumerate(given.names), 2):
        inside = (given.codes == i) | (given.codes == j)
        auc, pval = _compare(given.values[inside], given.codes[inside] == i)
        frames.append(
            pd.DataFrame(
                {
                    "label": label,
                    "other": other,
                    "dimension": dims,
                    "auc": folded(auc),
                    "direction": np.where(auc >= 0.5, 1, -1),
                    "pval": np.minimum(pval * n_dims, 1.0),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _compare(
    values: NDArray[np.float64], is_label: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUC of one label against one other, and its p-value, per column."""
    ranks = rankdata(values, axis=0)
    auc = auc_of_ranks(ranks, np.where(is_label, 0, 1), 2)[:, 0]
    n_cells, n_label = len(values), int(is_label.sum())
    n_pairs = n_label * (n_cells - n_label)
    # the ranks' own variance has the correction for ties in it
    sd = np.sqrt(n_pairs / n_cells * ranks.var(axis=0, ddof=1))
    excess = np.maximum(np.abs(auc - 0.5) * n_pairs - 0.5, 0.0)
    return auc, 2 * norm.sf(np.divide(excess, sd, out=np.zeros_like(sd), where=sd > 0))
