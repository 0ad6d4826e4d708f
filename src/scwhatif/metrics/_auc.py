"""Area under the ROC curve of many values for many labels at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def one_vs_rest_auc(values: ArrayLike | pd.DataFrame, labels: ArrayLike | pd.Categorical) -> pd.DataFrame:
    r"""Area under the ROC curve of every column of ``values`` for every label against the rest.

    The Mann–Whitney form: with :math:`R` the sum of the (mid-)ranks of the :math:`n_1` cells that carry the label and
    :math:`n_0` all others,

    .. math::
        AUC = \frac{R - n_1 (n_1 + 1) / 2}{n_1 n_0},

    which is the probability that a cell with the label exceeds one without, ties counting one half.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, finite; higher counts as evidence for the label.
    labels
        ``(n_cells,)``, none missing; categories without cells are left out.

    Returns
    -------
    ``n_dims`` × labels, float64 in [0, 1]; .5 is no separation, below .5 the label lies at the low end. Rows are named
    as the columns of ``values`` where it has names.

    Raises
    ------
    ValueError
        Fewer than two labels have cells, lengths differ, or something is missing or infinite.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.one_vs_rest_auc([[1.0], [2.0], [2.0], [3.0]], ["a", "a", "b", "b"])
           a      b
    0  0.125  0.875
    """
    dims = values.columns if isinstance(values, pd.DataFrame) else None
    matrix = np.asarray(values, dtype=np.float64)
    groups = pd.Categorical(labels).remove_unused_categories()
    if matrix.ndim != 2 or len(matrix) != len(groups):
        msg = f"values must have shape (n_cells, n_dims) for {len(groups)} labels, not {matrix.shape}."
        raise ValueError(msg)
    if not np.isfinite(matrix).all() or groups.isna().any():
        msg = "values and labels must not be missing or infinite; leave such cells out."
        raise ValueError(msg)
    if len(groups.categories) < 2:
        msg = f"labels must hold at least two distinct values, not {list(groups.categories)}."
        raise ValueError(msg)
    auc = auc_of_ranks(rankdata(matrix, axis=0), np.asarray(groups.codes), len(groups.categories))
    return pd.DataFrame(auc, index=dims, columns=list(groups.categories))


def auc_of_ranks(ranks: np.ndarray, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """:func:`one_vs_rest_auc` of columns that are ranked already: what a permutation of the labels repeats.

    Parameters
    ----------
    ranks
        Mid-ranks from 1 within each column, ``(n_cells, n_dims)``.
    codes
        Label of each cell, integers from 0 to ``n_labels - 1``, each of which occurs.
    n_labels
        Number of labels.

    Returns
    -------
    ``(n_dims, n_labels)``, float64.
    """
    n_cells = len(codes)
    one_hot = sparse.csr_matrix((np.ones(n_cells), (codes, np.arange(n_cells))), shape=(n_labels, n_cells))
    n_in = np.bincount(codes, minlength=n_labels)
    rank_sums = np.asarray(one_hot @ ranks).T
    return (rank_sums - n_in * (n_in + 1) / 2) / (n_in * (n_cells - n_in))
