"""All that is measured of an embedding in one look: health, retrieval and geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scwhatif.metrics._cluster_geometry import cluster_geometry
from scwhatif.metrics._judged_embedding import judged_embedding
from scwhatif.metrics._retrieval_scores import retrieval_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class EmbeddingReport(NamedTuple):
    """One look at an embedding.

    Parameters
    ----------
    row
        ``verdict``, ``status``, and numbers by name.
    reasons
        Of the verdict, in words.
    """

    row: dict[str, str | float]
    reasons: str


def embedding_report(
    z: NDArray,
    *,
    identity: NDArray | None = None,
    exam: NDArray | None = None,
    ks: Sequence[int] = (1, 5, 10),
    max_queries: int = 1024,
    posterior: bool = True,
    thresholds: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
) -> EmbeddingReport:
    """Measure an embedding as often as one likes, at a cost that is bounded.

    Parameters
    ----------
    z
        ``(n, n_dims)``; where it is not finite, that is the verdict.
    identity, exam
        Labels of the rows, as for :func:`scwhatif.metrics.retrieval_scores`; ``None`` measures health only.
    ks
        Values of *k* of Rank@k.
    max_queries
        Rows that ask, drawn at random; all are in the gallery.
    posterior, thresholds
        As for :func:`scwhatif.metrics._judged_embedding.judged_embedding`.
    seed
        Draws rows and pairs.

    Returns
    -------
    With ``identity``, ``row`` holds ``map``, ``map_at_r``, ``auc``, ``rank_<k>``, ``n_queries`` and ``gallery`` (mean
    number of rows ranked), and the scores of :func:`scwhatif.metrics.cluster_geometry`, beside verdict and indicators;
    they are NaN where no row has an answer.
    """
    if not np.isfinite(z).all():
        return EmbeddingReport({"verdict": "not finite", "status": "error"}, "codes are not finite")
    found, verdict = judged_embedding(z, groups=identity, posterior=posterior, thresholds=thresholds, seed=seed)
    row: dict[str, str | float] = {"verdict": verdict.verdict, "status": verdict.status, **found}
    if identity is not None:
        # a row at the origin has no direction, and would end training for the sake of a measurement
        directed = np.linalg.norm(z, axis=1) > 0
        exams = None if exam is None else exam[directed]
        row |= _found_again(z[directed], identity[directed], exams, ks, max_queries, seed)
    return EmbeddingReport(row, "; ".join(verdict.reasons))


def _found_again(
    z: NDArray, identity: NDArray, exam: NDArray | None, ks: Sequence[int], max_queries: int, seed: int
) -> dict[str, float]:
    queries = np.arange(len(z))
    if len(z) > max_queries:
        queries = np.sort(np.random.default_rng(seed).choice(len(z), max_queries, replace=False))
    scores = retrieval_scores(z, identity, exam=exam, queries=queries, ks=ks)
    asked = scores[scores["rank"].notna()]
    found = {
        "map": float(asked["ap"].mean()),
        "map_at_r": float(asked["ap_at_r"].mean()),
        "auc": float(asked["auc"].mean()),
        **{f"rank_{k}": float(asked[f"rank@{k}"].mean()) for k in ks},
        "n_queries": float(len(asked)),
        "gallery": float((asked["n_positive"] + asked["n_negative"]).mean()),
    }
    sizes = np.unique(identity, return_counts=True)[1]
    if 1 < len(sizes) < len(identity):
        found |= cluster_geometry(z, identity, max_queries=max_queries, seed=seed).scores
    return found
