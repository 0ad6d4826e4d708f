"""Distances within and between groups of cells, beside those of shuffled groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_groups, check_rep

if TYPE_CHECKING:
    from anndata import AnnData


def cluster_geometry(
    adata: AnnData,
    *,
    groupby: str,
    use_rep: str = Key.obsm.LATENT,
    max_queries: int | None = 5000,
    n_shuffles: int = 20,
    key_added: str = Key.uns.CLUSTER_GEOMETRY,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Measure how far apart cells of one group are, and those of different groups, over all pairs.

    See :func:`scwhatif.metrics.cluster_geometry`. These are descriptions of an embedding, not scores to choose one by:
    the ratio has no good value, and it can rise while cells find others of their group less well. For that use
    :func:`scwhatif.tl.rank_retrieval`.

    Parameters
    ----------
    adata
        Cells with an embedding.
    groupby
        Column of ``obs``.
    use_rep
        Key of ``obsm``.
    max_queries
        Cells whose nearest cell is looked for, drawn at random; ``None`` asks all.
    n_shuffles
        Shuffles of the groups, whose mean is what no structure at all would give.
    key_added
        Key of ``uns`` to write to.
    seed
        Of cells and shuffles.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["cluster_geometry"]["scores"]`` : DataFrame
        One row per score: ``score`` (``"intra"``, ``"inter"``, ``"ratio"``, ``"nn_accuracy"``, ``"calinski_harabasz"``,
        ``"davies_bouldin"``), ``value`` and ``shuffled`` (float64; the mean with shuffled groups, NaN without).
    ``uns["cluster_geometry"]["groups"]`` : DataFrame
        One row per group: ``group``, ``n`` (int64), ``intra``, ``nearest`` (the group nearest to it), ``inter`` (mean
        distance to that one) and ``nn_accuracy`` (float64; NaN where no cell asked).
    ``uns["cluster_geometry"]["params"]`` : dict
        Arguments and versions.

    Raises
    ------
    KeyError
        The column or embedding does not exist.
    ValueError
        Groups are missing or there is only one, the embedding is not finite or has a row of length 0, or a setting is
        out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 30, 4, n_cell_types=3, seed=0)
    >>> wi.tl.cluster_geometry(adata, groupby="cell_type", use_rep="true_factors")
    >>> scores = adata.uns["cluster_geometry"]["scores"].set_index("score")
    >>> bool(scores.loc["ratio", "value"] > 1.1), round(float(scores.loc["ratio", "shuffled"]), 1)
    (True, 1.0)
    """
    from scwhatif.metrics import cluster_geometry as geometry_of

    check_rep(adata, use_rep)
    groups = check_groups(adata, groupby)
    if n_shuffles < 0:
        msg = f"n_shuffles={n_shuffles} must be 0, for none, or more."
        raise ValueError(msg)
    z, labels = np.asarray(adata.obsm[use_rep]), np.asarray(groups.astype(str))
    found = geometry_of(z, labels, max_queries=max_queries, seed=seed)
    rng = np.random.default_rng(seed)
    shuffled = [
        geometry_of(z, rng.permutation(labels), max_queries=1, seed=seed).scores
        | {"nn_accuracy": _agreement(rng.permutation(labels), found.neighbours)}
        for _ in range(n_shuffles)
    ]
    scores = pd.DataFrame(
        {
            "score": list(found.scores),
            "value": np.array(list(found.scores.values())),
            "shuffled": [
                float(np.mean([each[name] for each in shuffled])) if shuffled else np.nan for name in found.scores
            ],
        }
    )
    scores.index, found.groups.index = scores.index.astype(str), found.groups.index.astype(str)
    target = adata.copy() if copy else adata
    target.uns[key_added] = {
        "scores": scores,
        "groups": found.groups,
        Key.uns.PARAMS: params(
            groupby=groupby, use_rep=use_rep, max_queries=max_queries, n_shuffles=n_shuffles, seed=seed
        ),
    }
    return target if copy else None


def _agreement(labels: np.ndarray, neighbours: np.ndarray) -> float:
    """How often cells that are neighbours share a label."""
    return float((labels[neighbours[:, 0]] == labels[neighbours[:, 1]]).mean())
