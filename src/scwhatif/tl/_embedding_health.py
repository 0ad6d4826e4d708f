"""Whether an embedding has collapsed, and how."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_groups, check_rep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.metrics import EmbeddingVerdict

# Rows per dimension below which rank and directions are those of the sample, not of the embedding.
_ROWS_PER_DIM = 8
_GROUP_ROWS_PER_DIM = 2
# Share of the variance of all rows below which a group counts as one point.
_POINT_SHARE = 0.01
_LOST_RANK = 0.5


def embedding_health(
    adata: AnnData,
    model: BaseModelClass | None = None,
    *,
    use_rep: str = Key.obsm.LATENT,
    groupby: str | None = None,
    reference: str | None = None,
    thresholds: Mapping[str, tuple[float, float]] | None = None,
    key_added: str = Key.uns.EMBEDDING_HEALTH,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Say whether an embedding has collapsed, and how.

    No single number sees every collapse: the effective rank of a cloud that has shrunk to a point is perfect, the mean
    cosine of a line through the origin is 0, and a posterior that has become the prior looks round to both. The verdict
    takes all of them together, see :func:`scwhatif.metrics.embedding_verdict`. It is an alarm, not a score: that an
    embedding is healthy does not say that it is any good, and of two healthy ones neither is better for its numbers.

    Parameters
    ----------
    adata
        Cells with an embedding.
    model
        The trained model whose posterior means these are: then dimensions that do not vary (below .01, on the scale of
        the prior) count as well.
    use_rep
        Key of ``obsm``, any number of dimensions.
    groupby
        Column of ``obs`` for whose groups health is judged too: one that has shrunk to a point is lost in the whole.
    reference
        Key of ``obsm`` to compare with, such as the codes of the untrained model or principal components. A rank below
        half of its own is a warning.
    thresholds
        Values at which to warn and to call an error, by indicator, instead of
        ``scwhatif.metrics.embedding_verdict``'s own, such as ``{"mean_cosine": (0.8, 0.95)}``.
    key_added
        Key of ``uns`` to write to.
    seed
        Draws the pairs of one indicator, ``uniformity``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["embedding_health"]["verdict"]`` : str
        ``"ok"``, ``"point"``, ``"dimensional"``, ``"posterior"``, ``"label_only"``, ``"group"`` (one of the groups is a
        point or a line), ``"outlier"`` or ``"cone"``. Groups that are points are what ``"label_only"`` means, and then
        not counted again.
    ``uns["embedding_health"]["status"]`` : str
        ``"ok"``, ``"warn"`` or ``"error"``.
    ``uns["embedding_health"]["reasons"]`` : array of str
        Why.
    ``uns["embedding_health"]["metrics"]`` : DataFrame
        One row per indicator of :func:`scwhatif.metrics.embedding_indicators`: ``metric``, ``value``, ``reference``
        (float64; NaN without one) and ``status`` (of this indicator alone).
    ``uns["embedding_health"]["groups"]`` : DataFrame
        With ``groupby``, one row per group: ``group``, ``n``, ``variance_share`` (its variance over that of all cells),
        ``resultant_length``, ``mean_cosine``, ``erank_ratio``, ``top1``, ``verdict`` (``"too few"`` below two cells per
        dimension) and ``status``. Where a few long rows make the spectrum, of all rows brought to length 1.
    ``uns["embedding_health"]["spectrum"]`` : array, float64
        Share of the variance on each principal axis, largest first.
    ``uns["embedding_health"]["params"]`` : dict
        Arguments and versions.

    Warns
    -----
    UserWarning
        There are fewer than eight cells per dimension, so that ranks are too low by chance.

    Raises
    ------
    KeyError
        An embedding, column or indicator does not exist.
    ValueError
        The embedding holds NaN or infinite values, or has fewer than two rows; groups are missing or single cells.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(400, 30, 4, seed=0)
    >>> adata.obsm["X_flat"] = np.outer(np.random.default_rng(0).normal(size=400), np.ones(8))
    >>> wi.tl.embedding_health(adata, use_rep="X_flat")
    >>> adata.uns["embedding_health"]["verdict"], list(adata.uns["embedding_health"]["reasons"])[-1]
    ('dimensional', '100% of the variance is on one axis')
    """
    from sklearn.preprocessing import normalize

    from scwhatif.metrics import HEALTH_THRESHOLDS, EmbeddingMoments, embedding_indicators
    from scwhatif.metrics._embedding_verdict import indicator_status
    from scwhatif.metrics._judged_embedding import judged_embedding

    check_rep(adata, use_rep)
    if reference is not None:
        check_rep(adata, reference)
    unknown = set(thresholds or {}) - set(HEALTH_THRESHOLDS)
    if unknown:
        msg = f"thresholds are for {sorted(HEALTH_THRESHOLDS)}; {sorted(unknown)} are not among them."
        raise KeyError(msg)
    groups = None if groupby is None else check_groups(adata, groupby)
    z = np.asarray(adata.obsm[use_rep])
    if z.ndim != 2 or len(z) < 2:
        msg = f"adata.obsm[{use_rep!r}] has the shape {z.shape}; two cells or more are needed."
        raise ValueError(msg)
    moments = EmbeddingMoments.of(z)
    found, verdict = judged_embedding(
        z,
        moments=moments,
        groups=None if groups is None else groups.codes,
        posterior=model is not None,
        thresholds=thresholds,
        seed=seed,
    )
    if len(z) < _ROWS_PER_DIM * z.shape[1]:
        msg = (
            f"{len(z)} cells are fewer than {_ROWS_PER_DIM} per dimension of {use_rep!r} ({z.shape[1]}): effective "
            "ranks are too low by chance. Compare only with embeddings of as many cells and dimensions."
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
    before = {} if reference is None else embedding_indicators(adata.obsm[reference], seed=seed)
    metrics = pd.DataFrame(
        {
            "metric": list(found),
            "value": np.array(list(found.values()), dtype=np.float64),
            "reference": np.array([before.get(name, np.nan) for name in found], dtype=np.float64),
            "status": [indicator_status(name, value, thresholds) for name, value in found.items()],
        },
        index=pd.Index([str(i) for i in range(len(found))]),
    )
    overall: str = verdict.verdict
    status: str = verdict.status
    reasons = list(verdict.reasons)
    result: dict[str, Any] = {}
    if groups is not None:
        outlying = indicator_status("norm_cv", found["norm_cv"], thresholds) != "ok"
        table = _groups(normalize(z.astype(np.float64)) if outlying else z, groups, thresholds)
        result["groups"] = table
        broken = table[table["status"] == "error"]
        if overall == "label_only":
            broken = broken[broken["verdict"] != "point"]
        if len(broken):
            if status != "error":
                overall, status = "group", "error"
            reasons += [f"group {row.group!r} has collapsed ({row.verdict})" for row in broken.itertuples()]
    if before and found["erank_ratio"] < _LOST_RANK * before["erank_ratio"]:
        reasons.append(
            f"effective rank is {found['erank_ratio']:.0%} of what is possible, "
            f"{before['erank_ratio']:.0%} in {reference!r}"
        )
        status = "warn" if status == "ok" else status
    eigenvalues = moments.eigenvalues
    total = eigenvalues.sum()
    result |= {
        "verdict": overall,
        "status": status,
        "reasons": np.array(reasons, dtype=object),
        "metrics": metrics,
        "spectrum": eigenvalues / total if total > 0 else eigenvalues,
        Key.uns.PARAMS: params(
            model,
            use_rep=use_rep,
            groupby=groupby,
            reference=reference,
            thresholds=None if thresholds is None else {name: list(each) for name, each in thresholds.items()},
            seed=seed,
        ),
    }
    target = adata.copy() if copy else adata
    target.uns[key_added] = result
    return target if copy else None


def _groups(z: NDArray, groups: pd.Categorical, thresholds: Mapping[str, tuple[float, float]] | None) -> pd.DataFrame:
    from scwhatif.metrics import embedding_verdict
    from scwhatif.metrics._embedding_indicators import embedding_indicators

    total = float(np.var(z, axis=0, dtype=np.float64).sum())
    rows = []
    for code, name in enumerate(groups.categories):
        members = np.asarray(z[groups.codes == code], dtype=np.float64)
        share = float(members.var(axis=0).sum()) / total if total > 0 else 0.0
        found = embedding_indicators(members)
        judged: str
        if len(members) < _GROUP_ROWS_PER_DIM * z.shape[1]:
            judged, status = "too few", "ok"
        elif share < _POINT_SHARE:
            judged, status = "point", "error"
        else:
            # far from the origin is where a group belongs, so its mean is taken away before it is judged
            verdict: EmbeddingVerdict = embedding_verdict(
                {name: found[name] for name in ("erank", "erank_cov", "erank_ratio", "erank_cov_ratio", "top1")},
                thresholds=thresholds,
            )
            judged, status = verdict.verdict, verdict.status
        shown = {name: found[name] for name in ("resultant_length", "mean_cosine", "erank_ratio", "top1")}
        rows.append(
            {"group": name, "n": len(members), "variance_share": share, **shown, "verdict": judged, "status": status}
        )
    return pd.DataFrame(rows, index=pd.Index([str(i) for i in range(len(rows))]))
