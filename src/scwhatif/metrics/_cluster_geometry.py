"""How far apart rows of one group are, and those of different groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scwhatif.metrics._retrieval_scores import similarity_blocks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_BLOCK_GROUPS = 512


class ClusterGeometry(NamedTuple):
    """Geometry of the groups of an embedding.

    Parameters
    ----------
    scores
        ``intra``, ``inter``, ``ratio``, ``nn_accuracy``, ``calinski_harabasz`` and ``davies_bouldin``.
    groups
        One row per group: ``group``, ``n``, ``intra``, ``nearest``, ``inter`` and ``nn_accuracy``.
    neighbours
        For the rows that asked, their positions and those of their nearest row, ``(n_queries, 2)`` int64.
    """

    scores: dict[str, float]
    groups: pd.DataFrame
    neighbours: NDArray[np.int64]


def cluster_geometry(
    embedding: ArrayLike, groups: ArrayLike, *, max_queries: int | None = 5000, seed: int = 0
) -> ClusterGeometry:
    r"""Distances within and between groups, over **all** pairs of rows.

    Distances are squared Euclidean between rows brought to length 1, that is 2 − 2 cos, whose means over all pairs
    follow from the sum of each group, so that no two rows are compared: time grows with the number of rows. What a
    training step logs of its own batches (or worse, of the pairs it has chosen) is not this number, and the two can
    go opposite ways.

    No value of the ratio is good or bad: 24 has come with the worst retrieval of a table, and 6 with the best.

    Parameters
    ----------
    embedding
        ``(n, n_dims)``, finite.
    groups
        Label of every row, ``(n,)``.
    max_queries
        Rows, drawn at random, whose nearest row is looked for (among all); ``None`` asks all.
    seed
        Draws them.

    Returns
    -------
    ``scores["intra"]``, ``scores["inter"]`` : float
        Mean distance of two different rows of one group, and of two groups; over all pairs, so that large groups
        weigh more.
    ``scores["ratio"]`` : float
        ``inter`` over ``intra``; NaN where ``intra`` is 0.
    ``scores["nn_accuracy"]`` : float
        Share of the rows that asked whose nearest other row is of their group; in a tie it is not. Rows alone in
        their group do not ask.
    ``scores["calinski_harabasz"]``, ``scores["davies_bouldin"]`` : float
        Of the embedding as it is, as in scikit-learn; NaN where every row is a group of its own.
    ``groups`` : DataFrame
        By group: ``n``, mean distance within (``intra``; NaN for a single row), the group to which the mean distance is
        smallest (``nearest``), that distance (``inter``), and ``nn_accuracy``.
    ``neighbours`` : array
        Which row was nearest to which.

    Raises
    ------
    ValueError
        There are fewer than two groups or none with two rows, lengths differ, labels are missing, or the embedding is
        not finite or has a row of length 0.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> rng = np.random.default_rng(0)
    >>> label = np.repeat(["a", "b", "c"], 50)
    >>> z = rng.normal(size=(150, 8)) + 3 * np.repeat(np.eye(3, 8), 50, axis=0)
    >>> found = wi.metrics.cluster_geometry(z, label)
    >>> found.scores["ratio"] > 1.5, found.scores["nn_accuracy"] > 0.7, found.groups.shape
    (True, True, (3, 6))
    """
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score
    from sklearn.preprocessing import normalize

    z = np.asarray(embedding)
    codes, names = pd.factorize(np.asarray(groups), sort=True)
    _check(z, codes, len(names), max_queries)
    sizes = np.bincount(codes).astype(float)
    sums = np.zeros((len(names), z.shape[1]))
    step = max(1, 2**21 // z.shape[1])
    for start in range(0, len(z), step):
        np.add.at(sums, codes[start : start + step], normalize(np.asarray(z[start : start + step], dtype=np.float64)))
    n, within = float(len(z)), sizes * (sizes - 1)
    # over ordered pairs, sum |u - u'|² is 2 n² - 2 |sum u|² for rows of length 1
    apart = np.maximum(2 * sizes**2 - 2 * np.square(sums).sum(axis=1), 0.0)
    overall = 2 * n**2 - 2 * float(np.square(sums.sum(axis=0)).sum())
    intra = apart.sum() / within.sum()
    inter = (overall - apart.sum()) / (n * (n - 1) - within.sum())
    asking = np.flatnonzero(sizes[codes] > 1)
    if max_queries is not None and len(asking) > max_queries:
        asking = np.sort(np.random.default_rng(seed).choice(asking, max_queries, replace=False))
    neighbours, right = _nearest(z, codes, asking)
    many = 2 <= len(names) < len(z)
    asked = np.bincount(codes[asking], minlength=len(names))
    nearest, distance = _nearest_groups(sums / sizes[:, None])
    with np.errstate(invalid="ignore", divide="ignore"):
        table = pd.DataFrame(
            {
                "group": names,
                "n": sizes.astype(np.int64),
                "intra": apart / within,
                "nearest": names[nearest],
                "inter": distance,
                "nn_accuracy": np.bincount(codes[asking], weights=right, minlength=len(names)) / asked,
            }
        )
    scores = {
        "intra": float(intra),
        "inter": float(inter),
        "ratio": float(inter / intra) if intra > 0 else np.nan,
        "nn_accuracy": float(right.mean()),
        "calinski_harabasz": float(calinski_harabasz_score(z, codes)) if many else np.nan,
        "davies_bouldin": float(davies_bouldin_score(z, codes)) if many else np.nan,
    }
    return ClusterGeometry(scores, table, np.stack([asking, neighbours], axis=1))


def _check(z: NDArray, codes: NDArray, n_groups: int, max_queries: int | None) -> None:
    if z.ndim != 2 or codes.shape != (len(z),):
        msg = f"An embedding of two dimensions and a label per row are needed, not {z.shape} and {codes.shape}."
        raise ValueError(msg)
    if (codes < 0).any():
        msg = f"groups is missing for {int((codes < 0).sum())} rows; leave these rows out."
        raise ValueError(msg)
    if n_groups < 2 or n_groups == len(z):
        msg = f"There are {n_groups} groups of {len(z)} rows; two or more are needed, one of them with two rows."
        raise ValueError(msg)
    if not np.isfinite(z).all():
        msg = f"{int((~np.isfinite(z).all(axis=1)).sum())} of {len(z)} rows of the embedding are not finite."
        raise ValueError(msg)
    still = ~z.any(axis=1)
    if still.any():
        msg = f"{int(still.sum())} rows of the embedding have length 0, and so no direction; remove them."
        raise ValueError(msg)
    if max_queries is not None and max_queries < 1:
        msg = f"max_queries={max_queries} must be at least 1."
        raise ValueError(msg)


def _nearest(
    z: NDArray, codes: NDArray[np.int64], asking: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The nearest row of each, and whether it is nearer than all of other groups."""
    from sklearn.preprocessing import normalize

    found, right = np.zeros(len(asking), dtype=np.int64), np.zeros(len(asking), dtype=bool)
    at = 0
    for rows, similarity in similarity_blocks(normalize(z), asking, np.arange(len(z)), "cosine"):
        block = slice(at, at + len(rows))
        similarity[np.arange(len(rows)), rows] = -np.inf
        same = codes[rows][:, None] == codes[None]
        others = np.where(same, -np.inf, similarity)
        own = np.where(same, similarity, -np.inf)
        right[block] = own.max(axis=1) > others.max(axis=1)
        found[block] = np.where(right[block], own.argmax(axis=1), others.argmax(axis=1))
        at += len(rows)
    return found, right


def _nearest_groups(means: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The group to which the mean distance of rows is smallest, and that distance."""
    nearest, distance = np.zeros(len(means), dtype=np.int64), np.zeros(len(means))
    for start in range(0, len(means), _BLOCK_GROUPS):
        rows = np.arange(start, min(start + _BLOCK_GROUPS, len(means)))
        apart = 2 - 2 * means[rows] @ means.T
        apart[np.arange(len(rows)), rows] = np.inf
        nearest[rows], distance[rows] = apart.argmin(axis=1), apart.min(axis=1)
    return nearest, distance
