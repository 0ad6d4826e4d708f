"""How near every row is to the rows of each identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.metrics._retrieval_scores import similarity_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray


def label_support(z: NDArray, codes: NDArray[np.int64], n_identities: int, *, n_neighbours: int = 5) -> NDArray:
    """Mean cosine of every row with the nearest rows of each identity, itself left out.

    Parameters
    ----------
    z
        ``(n, n_dims)``, finite, no row of length 0.
    codes
        Identity of every row, ``(n,)``.
    n_identities
        Number of identities.
    n_neighbours
        How many rows; of an identity with fewer all.

    Returns
    -------
    float64 ``(n, n_identities)``; NaN where an identity has no other row.
    """
    from sklearn.preprocessing import normalize

    order = np.argsort(codes, kind="stable")
    unit = normalize(z)[order]
    starts = np.searchsorted(codes[order], np.arange(n_identities + 1))
    support = np.full((len(z), n_identities), np.nan)
    rows_of = np.arange(len(z))
    for rows, similarity in similarity_blocks(unit, rows_of, rows_of, "cosine"):
        similarity[np.arange(len(rows)), rows] = -np.inf
        for identity in range(n_identities):
            block = similarity[:, starts[identity] : starts[identity + 1]]
            if not block.shape[1]:
                continue
            k = min(n_neighbours, block.shape[1])
            nearest = np.partition(block, block.shape[1] - k, axis=1)[:, -k:]
            known = np.isfinite(nearest)
            n_known = known.sum(axis=1)
            total = np.where(known, nearest, 0.0).sum(axis=1)
            support[order[rows], identity] = np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)
    return support
