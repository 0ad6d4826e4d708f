"""One dimension per category: matching, and the scores made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def match_dimensions(similarity: ArrayLike | pd.DataFrame) -> pd.DataFrame:
    """Give every factor a dimension of its own so that the sum of their similarities is largest.

    Parameters
    ----------
    similarity
        Dimensions × factors, as from :func:`~scwhatif.metrics.latent_similarity`.

    Returns
    -------
    One row per factor, in order, with ``dim`` and ``similarity``. Where there are more factors than dimensions, those
    left over have no dimension (missing) and similarity 0.

    Raises
    ------
    ValueError
        The matrix is not two-dimensional, is empty or not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> similarity = pd.DataFrame({"T cell": [0.9, 0.8], "B cell": [0.7, 0.1]}, index=["z0", "z1"])
    >>> match_dimensions(similarity)
           dim  similarity
    T cell  z1         0.8
    B cell  z0         0.7
    """
    from scipy.optimize import linear_sum_assignment

    values = _read(similarity)
    dims, factors = (
        (similarity.index, similarity.columns)
        if isinstance(similarity, pd.DataFrame)
        else (pd.RangeIndex(n) for n in values.shape)
    )
    rows, columns = linear_sum_assignment(values, maximize=True)
    matched = pd.DataFrame({"dim": pd.Series(None, index=factors, dtype=object), "similarity": 0.0}, index=factors)
    matched.iloc[columns, 0] = np.asarray(dims, dtype=object)[rows]
    matched.iloc[columns, 1] = values[rows, columns]
    # positions stay numbers where every factor has one
    return matched.infer_objects()


def latent_matching_score(similarity: ArrayLike | pd.DataFrame) -> float:
    r"""LMS: how well each factor is told by a dimension of its own.

    .. math:: \mathrm{LMS} = \frac{1}{K} \max_{m} \sum_{k=1}^{K} S_{m(k) k}

    over one-to-one assignments :math:`m` of dimensions to the :math:`K` factors :cite:p:`Moinfar2024`. A dimension
    that mixes two factors serves only one of them.

    Parameters
    ----------
    similarity
        Dimensions × factors :math:`S`.

    Returns
    -------
    Score, on the scale of the similarities. A factor without a dimension counts as 0.

    Examples
    --------
    >>> round(latent_matching_score([[0.9, 0.9], [0.2, 0.1]]), 3)
    0.55
    """
    return float(match_dimensions(similarity)["similarity"].mean())


def most_similar_averaging_score(similarity: ArrayLike | pd.DataFrame) -> float:
    r"""MSAS: how well each factor is told by its best dimension, shared or not.

    .. math:: \mathrm{MSAS} = \frac{1}{K} \sum_{k=1}^{K} \max_i S_{ik}

    :cite:p:`Moinfar2024`.

    Parameters
    ----------
    similarity
        Dimensions × factors :math:`S`.

    Returns
    -------
    Score, on the scale of the similarities; never below :func:`latent_matching_score`.

    Examples
    --------
    >>> round(most_similar_averaging_score([[0.9, 0.9], [0.2, 0.1]]), 3)
    0.9
    """
    return float(_read(similarity).max(axis=0).mean())


def most_similar_gap_score(similarity: ArrayLike | pd.DataFrame) -> float:
    r"""MSGS: how far the best dimension of each factor is ahead of the second best.

    .. math:: \mathrm{MSGS} = \frac{1}{K} \sum_{k=1}^{K} \left( S_{(1) k} - S_{(2) k} \right)

    with the similarities of each factor in descending order :cite:p:`Moinfar2024`. It falls where a factor is spread
    over redundant dimensions.

    Parameters
    ----------
    similarity
        Dimensions × factors :math:`S`.

    Returns
    -------
    Score, on the scale of the similarities. A single dimension has no rival: the second best is then 0.

    Examples
    --------
    >>> round(most_similar_gap_score([[0.9, 0.9], [0.2, 0.1]]), 3)
    0.75
    """
    return float(lead_of_best(_read(similarity)).mean())


def lead_of_best(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best minus second best of every column; the second best of a single row is 0.

    Parameters
    ----------
    scores
        Dimensions × factors.

    Returns
    -------
    One lead per factor.
    """
    if len(scores) == 1:
        return scores[0].copy()
    second, best = np.partition(scores, -2, axis=0)[-2:]
    return best - second


def _read(similarity: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
    values = np.asarray(similarity, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        msg = f"similarity must have shape (n_dims, n_factors), neither of them 0, not {values.shape}."
        raise ValueError(msg)
    if not np.isfinite(values).all():
        msg = "similarity must be finite; a dimension that tells nothing has similarity 0."
        raise ValueError(msg)
    return values
