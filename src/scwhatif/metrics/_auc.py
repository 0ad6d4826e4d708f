"""Area under the ROC curve of many values for many labels at once."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

from scwhatif.metrics._labelled import labelled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Values ranked at once: 4M float64 are 32 MiB.
_BLOCK_ENTRIES = 2**22


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
    given = labelled(values, labels)
    auc = column_auc(given.values, given.codes, len(given.names))
    return pd.DataFrame(auc, index=given.dims, columns=given.names)


def column_auc(values: Any, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """:func:`one_vs_rest_auc` of checked input, which may be sparse.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, array or sparse matrix. A sparse one is never densified: its zeros are one tie.
    codes
        Label of each cell, integers from 0 to ``n_labels - 1``, each of which occurs.
    n_labels
        Number of labels.

    Returns
    -------
    ``(n_dims, n_labels)``, float64.
    """
    if sparse.issparse(values):
        return _auc_of_sparse(values.tocsc(), codes, n_labels)
    n_cells, n_dims = values.shape
    step = max(1, _BLOCK_ENTRIES // n_cells)
    auc = np.empty((n_dims, n_labels))
    for start in range(0, n_dims, step):
        ranks = rankdata(values[:, start : start + step], axis=0)
        auc[start : start + step] = auc_of_ranks(ranks, codes, n_labels)
    return auc


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
    n_in = np.bincount(codes, minlength=n_labels)
    rank_sums = np.asarray(_one_hot(codes, n_labels) @ ranks).T
    return (rank_sums - n_in * (n_in + 1) / 2) / (n_in * (len(codes) - n_in))


def folded(auc: np.ndarray) -> np.ndarray:
    """Separation whichever end the label lies at.

    Parameters
    ----------
    auc
        In [0, 1].

    Returns
    -------
    In [.5, 1], of the same shape.
    """
    return 0.5 + np.abs(auc - 0.5)


def _one_hot(codes: np.ndarray, n_labels: int) -> sparse.csr_matrix:
    n_cells = len(codes)
    return sparse.csr_matrix((np.ones(n_cells), (codes, np.arange(n_cells))), shape=(n_labels, n_cells))


def _auc_of_sparse(values: sparse.csc_matrix, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """All zeros of a column share one rank, so only what the others' ranks differ by has to be summed."""
    values = values.copy()
    values.sum_duplicates()
    values.eliminate_zeros()
    n_cells, n_dims = values.shape
    shift = values.data.astype(np.float64)
    rank_of_zero = np.empty(n_dims)
    for j, (start, stop) in enumerate(itertools.pairwise(values.indptr)):
        stored = values.data[start:stop]
        n_zero = n_cells - len(stored)
        rank_of_zero[j] = np.count_nonzero(stored < 0) + (n_zero + 1) / 2
        shift[start:stop] = rankdata(stored) + n_zero * (stored > 0) - rank_of_zero[j]
    shifted = sparse.csc_matrix((shift, values.indices, values.indptr), shape=values.shape)
    n_in = np.bincount(codes, minlength=n_labels)
    rank_sums = (_one_hot(codes, n_labels) @ shifted).toarray().T + n_in * rank_of_zero[:, None]
    return (rank_sums - n_in * (n_in + 1) / 2) / (n_in * (n_cells - n_in))
