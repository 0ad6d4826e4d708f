"""Indicators of an embedding and the verdict on them, in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.metrics._embedding_indicators import embedding_indicators, indicators_of
from scwhatif.metrics._embedding_moments import EmbeddingMoments
from scwhatif.metrics._embedding_verdict import EmbeddingVerdict, embedding_verdict, indicator_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray


def judged_embedding(
    z: NDArray,
    *,
    moments: EmbeddingMoments | None = None,
    groups: ArrayLike | None = None,
    posterior: bool = False,
    thresholds: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
) -> tuple[dict[str, float], EmbeddingVerdict]:
    """Judge an embedding; where a few long rows make the spectrum, by the directions of its rows.

    Parameters
    ----------
    z
        ``(n, n_dims)``, finite.
    moments
        Of its rows, where they are known.
    groups, seed
        As for :func:`scwhatif.metrics.embedding_indicators`.
    posterior
        Whether these are posterior means, of which dimensions that do not vary are judged too (``"active_share"``).
    thresholds
        As for :func:`scwhatif.metrics.embedding_verdict`.

    Returns
    -------
    Indicators and verdict.
    """
    from sklearn.preprocessing import normalize

    found = indicators_of(z, EmbeddingMoments.of(z) if moments is None else moments, groups=groups, seed=seed)
    if posterior:
        found["active_share"] = found["n_active"] / found["n_dims"]
    directions = None
    if indicator_status("norm_cv", found["norm_cv"], thresholds) != "ok":
        directions = embedding_indicators(normalize(z.astype(np.float64)), seed=seed)
    return found, embedding_verdict(found, directions=directions, thresholds=thresholds)
