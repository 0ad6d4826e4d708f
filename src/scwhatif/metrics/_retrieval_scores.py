"""How well rows of one identity find each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

Metric = Literal["cosine", "euclidean"]

_BLOCK_ENTRIES = 2**22
# Similarities closer than this are a tie, so that copies of a row do not win by the order of a sum.
_DECIMALS = 6


def retrieval_scores(
    embedding: ArrayLike | sparse.spmatrix,
    identity: ArrayLike,
    *,
    exam: ArrayLike | None = None,
    within: ArrayLike | None = None,
    queries: ArrayLike | None = None,
    gallery: ArrayLike | None = None,
    metric: Metric = "cosine",
    ks: Sequence[int] = (1, 5, 10),
    shuffled: ArrayLike | None = None,
) -> pd.DataFrame:
    r"""Rank all rows by their similarity to each query, and see where those of the same identity come.

    The gallery of a query is every other row but those of its own identity **and** exam, which would be found for
    being the same exam; the query itself is left out by its position, never as "the nearest row". Ties go against the
    query: rows of other identities come first. The work is done in blocks of queries, so memory grows with the number
    of rows and not with its square.

    Parameters
    ----------
    embedding
        ``(n, n_dims)``, finite; array or sparse matrix.
    identity
        What is to be found again, ``(n,)``: a perturbed gene, a donor, a cell type.
    exam
        Where a row was seen, ``(n,)``: a guide, plate, batch or study; only rows of other exams count as found.
        ``None`` lets any other row count.
    within
        ``(n,)``; rows of other identities compete only if they share this with the query, such as its batch.
    queries, gallery
        Rows that ask and rows that may be found, truth values or positions; all by default.
    metric
        ``"cosine"`` or ``"euclidean"``.
    ks
        Values of *k* of Rank@k.
    shuffled
        Other identities to score the same ranking by, ``(n_shuffles, n)``, as a null distribution.

    Returns
    -------
    One row per query, indexed by its position:

    ``n_positive``, ``n_negative`` : int64
        Rows to be found, and competing rows. A query without one of them is an orphan, with NaN in what follows.
    ``rank`` : float64
        Of the first that is found, from 1.
    ``ap`` : float64
        Average precision over the whole ranking.
    ``ap_at_r`` : float64
        Average precision among the first ``n_positive``, MAP@R :cite:p:`Musgrave2020`.
    ``auc`` : float64
        Share of pairs of a positive and a negative in the right order; ties count half.
    ``rank@k`` : float64
        Whether one is found among the first *k*.
    ``chance_rank@k``, ``chance_ap`` : float64
        The same expected of a random order :cite:p:`Bestgen2015`.
    ``shuffled_<i>`` : float64
        With ``shuffled``, the average precision by these identities; NaN for their orphans.

    Raises
    ------
    ValueError
        Lengths differ, the embedding holds NaN or infinite values or a row of length 0 under cosine, or a setting is
        not known.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> place = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    >>> found = wi.metrics.retrieval_scores(place, ["a", "a", "b", "a", "c"], metric="euclidean", ks=(1,))
    >>> found[["n_positive", "rank", "ap"]].round(2)
       n_positive  rank    ap
    0           2   1.0  0.83
    1           2   1.0  0.83
    2           0   NaN   NaN
    3           2   3.0  0.42
    4           0   NaN   NaN
    """
    z, codes, exams, near, asked, offered = _checked(embedding, identity, exam, within, queries, gallery, metric, ks)
    others = np.zeros((0, len(codes)), np.int64) if shuffled is None else np.atleast_2d(np.asarray(shuffled))
    if others.shape[1] != len(codes):
        msg = f"shuffled must hold one identity for each of the {len(codes)} rows, not {others.shape[1]}."
        raise ValueError(msg)
    names = ["n_positive", "n_negative", "rank", "ap", "ap_at_r", "auc"]
    columns: dict[str, list[NDArray]] = {name: [] for name in names + [f"shuffled_{i}" for i in range(len(others))]}
    for rows, similarity in similarity_blocks(z, asked, offered, metric):
        other_row = offered[None] != rows[:, None]
        same_exam = np.zeros_like(other_row) if exams is None else exams[offered][None] == exams[rows][:, None]
        competes = other_row if near is None else other_row & (near[offered][None] == near[rows][:, None])
        may_be = other_row & ~same_exam
        same = codes[offered][None] == codes[rows][:, None]
        scores = _score(similarity, same & may_be, ~same & competes)
        for name in names:
            columns[name].append(scores[name])
        if len(others):
            # what is tied is in no order that the labels know of, so one order serves all shuffles
            order = np.argsort(-similarity, axis=1, kind="stable")
            may_be, competes = (np.take_along_axis(each, order, axis=1) for each in (may_be, competes))
            for i, labels in enumerate(others):
                same = labels[offered[order]] == labels[rows][:, None]
                columns[f"shuffled_{i}"].append(_average_precision(same & may_be, ~same & competes))
    table = pd.DataFrame(
        {name: np.concatenate(blocks) if blocks else np.zeros(0) for name, blocks in columns.items()}, index=asked
    )
    orphan = table["rank"].isna()
    n_positive, n_negative = table["n_positive"].to_numpy(float), table["n_negative"].to_numpy(float)
    for k in ks:
        table[f"rank@{k}"] = (table["rank"] <= k).astype(float).mask(orphan)
        table[f"chance_rank@{k}"] = pd.Series(_chance_at(n_positive, n_negative, k), index=asked).mask(orphan)
    table["chance_ap"] = pd.Series(_chance_ap(n_positive, n_negative), index=asked).mask(orphan)
    return table.astype({"n_positive": np.int64, "n_negative": np.int64})


def _checked(
    embedding: ArrayLike | sparse.spmatrix,
    identity: ArrayLike,
    exam: ArrayLike | None,
    within: ArrayLike | None,
    queries: ArrayLike | None,
    gallery: ArrayLike | None,
    metric: str,
    ks: Sequence[int],
) -> tuple[Any, NDArray, NDArray | None, NDArray | None, NDArray, NDArray]:
    from sklearn.preprocessing import normalize
    from sklearn.utils.extmath import row_norms

    z: Any = sparse.csr_matrix(embedding) if sparse.issparse(embedding) else np.asarray(embedding)
    if z.ndim != 2:
        msg = f"An embedding has two dimensions; this one has the shape {z.shape}."
        raise ValueError(msg)
    n = z.shape[0]
    # a sum is finite only if all its terms are
    finite = np.isfinite(np.asarray(z.sum(axis=1, dtype=np.float64)).ravel())
    if not finite.all():
        n_bad = int((~finite).sum())
        msg = f"{n_bad} of {n} rows of the embedding hold NaN or infinite values, first row {finite.argmin()}."
        raise ValueError(msg)
    if metric not in get_args(Metric):
        msg = f"metric={metric!r} must be one of {get_args(Metric)}."
        raise ValueError(msg)
    if not len(ks) or any(k < 1 for k in ks):
        msg = f"ks={ks!r} must hold numbers of at least 1."
        raise ValueError(msg)
    z = z.astype(np.float32 if z.dtype == np.float32 else np.float64)
    if metric == "euclidean" and not sparse.issparse(z):
        z = z - z.mean(axis=0)
    norms = row_norms(z)
    if metric == "cosine":
        if (norms == 0).any():
            msg = (
                f"{int((norms == 0).sum())} rows of the embedding have length 0, and so no cosine; remove them or use "
                "metric='euclidean'."
            )
            raise ValueError(msg)
        z = normalize(z)
    else:
        z = z / max(float(norms.max(initial=0.0)), np.finfo(np.float32).tiny)
    labels = [_codes(each, n, name) for name, each in (("identity", identity), ("exam", exam), ("within", within))]
    rows = [_rows(each, n, name) for name, each in (("queries", queries), ("gallery", gallery))]
    if labels[0] is None:
        msg = "identity must hold one label per row."
        raise ValueError(msg)
    return z, labels[0], labels[1], labels[2], rows[0], rows[1]


def _codes(values: ArrayLike | None, n: int, name: str) -> NDArray[np.int64] | None:
    if values is None:
        return None
    codes, _ = pd.factorize(np.asarray(values), use_na_sentinel=True)
    if codes.shape != (n,):
        msg = f"{name} must hold one label for each of the {n} rows, not {codes.shape}."
        raise ValueError(msg)
    if (codes < 0).any():
        msg = f"{name} is missing for {int((codes < 0).sum())} rows; leave these rows out."
        raise ValueError(msg)
    return codes.astype(np.int64)


def _rows(values: ArrayLike | None, n: int, name: str) -> NDArray[np.int64]:
    if values is None:
        return np.arange(n)
    rows = np.asarray(values)
    if rows.dtype == bool:
        if rows.shape != (n,):
            msg = f"{name} must hold one truth value for each of the {n} rows, not {rows.shape}."
            raise ValueError(msg)
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (len(rows) and (rows.min() < 0 or rows.max() >= n)):
        msg = f"{name} must hold positions from 0 to {n - 1}."
        raise ValueError(msg)
    return rows.astype(np.int64)


def similarity_blocks(
    z: Any, asked: NDArray[np.int64], offered: NDArray[np.int64], metric: str
) -> Iterator[tuple[NDArray[np.int64], NDArray]]:
    """Similarities of rows to others, a block of rows at a time.

    Parameters
    ----------
    z
        ``(n, n_dims)``; for the cosine, rows of length 1.
    asked, offered
        Positions of the rows that are compared, and of those they are compared with.
    metric
        ``"cosine"`` or ``"euclidean"``.

    Yields
    ------
    Positions of the rows of a block, and their similarities, rounded so that copies of a row are alike.
    """
    from sklearn.utils.extmath import row_norms

    step = max(1, _BLOCK_ENTRIES // max(len(offered), 1))
    targets = z[offered]
    squared = row_norms(targets, squared=True)
    for start in range(0, len(asked), step):
        rows = asked[start : start + step]
        product = z[rows] @ targets.T
        product = product.toarray() if sparse.issparse(product) else product
        if metric == "euclidean":
            # of the same order as the negative squared distance
            product = 2 * product - squared[None]
        yield rows, np.round(product, _DECIMALS)


def _score(similarity: NDArray, positive: NDArray[np.bool_], negative: NDArray[np.bool_]) -> dict[str, NDArray]:
    """Scores of each row; what is neither positive nor negative is not in the gallery."""
    n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
    counted = positive | negative
    # most similar first; within a tie negatives come first, and what does not count is last
    order = np.lexsort((positive, np.where(counted, -similarity, np.inf)), axis=-1)
    hit = np.take_along_axis(positive, order, axis=1)
    place = np.cumsum(np.take_along_axis(counted, order, axis=1), axis=1)
    precision = np.cumsum(hit, axis=1) / np.maximum(place, 1)
    orphan = (n_positive == 0) | (n_negative == 0)
    found = np.maximum(n_positive, 1)
    ap = np.where(hit, precision, 0.0).sum(axis=1) / found
    ap_at_r = np.where(hit & (place <= n_positive[:, None]), precision, 0.0).sum(axis=1) / found
    rank = place[np.arange(len(hit)), hit.argmax(axis=1)].astype(float)
    # negatives before each positive, of which those in a tie count half
    before = np.where(hit, place - np.cumsum(hit, axis=1), 0).sum(axis=1) - 0.5 * _tied(similarity, order, hit, counted)
    auc = 1 - before / np.maximum(n_positive * n_negative, 1)
    scores = {"rank": rank, "ap": ap, "ap_at_r": ap_at_r, "auc": auc}
    scores = {name: np.where(orphan, np.nan, each) for name, each in scores.items()}
    return {"n_positive": n_positive, "n_negative": n_negative, **scores}


def _average_precision(positive: NDArray[np.bool_], negative: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of rankings in order; NaN for orphans."""
    place = np.cumsum(positive | negative, axis=1, dtype=np.int32)
    hits = np.cumsum(positive, axis=1, dtype=np.int32)
    total = hits[:, -1]
    ap = np.where(positive, hits / np.maximum(place, 1), 0.0).sum(axis=1) / np.maximum(total, 1)
    return np.where((total == 0) | (total == place[:, -1]), np.nan, ap)


def _tied(
    similarity: NDArray, order: NDArray[np.int64], hit: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Pairs of a positive and a negative of the same similarity, by row."""
    values = np.take_along_axis(similarity, order, axis=1)
    new = np.ones(values.shape, dtype=bool)
    new[:, 1:] = values[:, 1:] != values[:, :-1]
    if new.all():
        return np.zeros(len(values))
    run = np.cumsum(new, axis=1) - 1 + np.arange(len(values))[:, None] * values.shape[1]
    listed = np.take_along_axis(counted, order, axis=1)
    size = values.size
    positives = np.bincount(run[hit], minlength=size)
    negatives = np.bincount(run[listed & ~hit], minlength=size)
    return (positives * negatives).reshape(values.shape).sum(axis=1).astype(float)


def _chance_at(n_positive: NDArray, n_negative: NDArray, k: int) -> NDArray:
    """Probability that one of the first ``k`` of a random order is positive."""
    total, missed = n_positive + n_negative, np.ones(len(n_positive))
    for i in range(k):
        missed *= np.clip((n_negative - i) / np.maximum(total - i, 1), 0.0, 1.0)
    return 1 - missed


def _chance_ap(n_positive: NDArray, n_negative: NDArray) -> NDArray:
    """Average precision expected of a random order."""
    from scipy.special import digamma

    total = n_positive + n_negative
    harmonic = digamma(total + 1) + np.euler_gamma
    share = (n_positive - 1) / np.maximum(total - 1, 1)
    return np.where(total > 0, (share * (total - harmonic) + harmonic) / np.maximum(total, 1), np.nan)
