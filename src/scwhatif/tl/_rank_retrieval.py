"""Whether cells of one identity find each other, beside what they find without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_layer, check_obs_key, check_rep
from scwhatif.tl._retrieval_null import draw_evenly, shuffled_pval
from scwhatif.tl._retrieval_tables import identity_table, summary_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.metrics._retrieval_scores import Metric

_FLOORS = ("raw", "pca", "untrained")


def rank_retrieval(
    adata: AnnData,
    model: BaseModelClass | None = None,
    *,
    identity_key: str,
    use_rep: str = Key.obsm.LATENT,
    positive_diff_by: str | None = None,
    negative_same_by: str | None = None,
    floors: Sequence[str] = ("pca",),
    layer: str | None = None,
    metric: Metric = "cosine",
    center_by: str | None = None,
    ks: Sequence[int] = (1, 5, 10),
    max_queries: int | None = 5000,
    n_init: int = 5,
    n_boot: int = 1000,
    n_permutations: int = 200,
    block_by: str | None = None,
    key_added: str = Key.uns.RANK_RETRIEVAL,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Ask every cell for others of its identity, and compare with what the data give without the embedding.

    An identity (a perturbed gene, a donor, a cell type) is seen in several *exams* (guides, plates, studies). A cell
    asks; all other cells are ranked by their similarity; those of its identity in **other** exams are to come first
    (:func:`scwhatif.metrics.retrieval_scores`). Cells of its own exam are neither right nor wrong: they would be found
    for sharing a plate. Cells without an answer, or without a competitor, are orphans: they are counted and ask
    nothing, but stay in the gallery.

    Rank@1 falls as the gallery grows while the AUC does not, so compare only within one table, and with chance.
    An embedding that was trained on these very identities says nothing about new ones: hold identities out.

    Parameters
    ----------
    adata
        Cells with an embedding.
    model
        The model of the embedding; needed for the floor ``"untrained"``.
    identity_key
        Column of ``obs`` with what is to be found again.
    use_rep
        Key of ``obsm`` with the embedding.
    positive_diff_by
        Column of ``obs`` with the exams; ``None`` lets any other cell be the answer.
    negative_same_by
        Column of ``obs``, such as the batch, that cells of other identities must share with the query to compete.
    floors
        What to compare with: ``"raw"`` (the data, log-normalised where they are counts), ``"pca"`` (as many principal
        components as the embedding has dimensions), ``"untrained"`` (the model with fresh weights, mean over
        ``n_init``), or keys of ``obsm``.
    layer
        Data of ``"raw"`` and ``"pca"``; ``None`` is ``X``.
    metric
        ``"cosine"`` or ``"euclidean"``.
    center_by
        Column of ``obs``, such as the batch, whose means are taken from embedding and floors before they are compared.
    ks
        Values of *k* of Rank@k.
    max_queries
        Most cells that ask, drawn evenly over identities; all stay in the gallery. ``None`` asks all.
    n_init
        Draws of weights of ``"untrained"``.
    n_boot
        Resamples of whole identities for the intervals; cells of one identity are not independent.
    n_permutations
        Shuffles of the identities, among whole exams of an identity, scored on at most 500 queries; 0 for none.
    block_by
        Column of ``obs`` within whose groups identities are shuffled, such as the batch or cell type.
    key_added
        Key of ``uns`` and prefix of the columns of ``obs``.
    seed
        Of draws, resamples, shuffles and weights.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obs["rank_retrieval_ap"]``, ``obs["rank_retrieval_rank"]`` : float64
        Average precision, and rank of the first answer; NaN for orphans and cells that did not ask.
    ``uns["rank_retrieval"]["summary"]`` : DataFrame
        One row per embedding, floor and ``"chance"``: ``rep``, ``kind`` (``"embedding"``, ``"floor"``, ``"chance"``),
        ``rank@k`` for each *k*, ``map`` (mean average precision), ``low`` and ``high`` (its 95 % interval),
        ``map_at_r``, ``auc``, ``map_macro`` (every identity the same weight), ``map_sd`` (over draws of
        ``"untrained"``, else NaN), and of the embedding less this floor ``gain`` (of ``map``), ``gain_low`` and
        ``gain_high`` (95 %, paired).
    ``uns["rank_retrieval"]["identities"]`` : DataFrame
        One row per identity that asked: ``identity``, ``n_queries``, ``rank@1`` (or of the smallest *k*), ``map``,
        ``auc``.
    ``uns["rank_retrieval"]["counts"]`` : dict
        ``n_queries``, ``n_orphans``, ``n_identities`` and ``gallery`` (mean number of cells ranked).
    ``uns["rank_retrieval"]["pval"]`` : float
        Of ``map`` of the embedding under shuffled identities, :math:`(1 + k) / (1 + n)`; NaN without shuffles.
    ``uns["rank_retrieval"]["params"]`` : dict
        Arguments, versions, and class and hash of the model.

    Raises
    ------
    KeyError
        A column or embedding does not exist.
    ValueError
        No cell can ask (every identity has been seen in one exam only, or there is only one identity), the embedding
        is not finite, or a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 40, 4, n_cell_types=3, n_batches=2, seed=0)
    >>> adata.obsm["X_wi"] = adata.obsm["true_factors"]
    >>> wi.tl.rank_retrieval(adata, identity_key="cell_type", positive_diff_by="batch", n_permutations=50)
    >>> summary = adata.uns["rank_retrieval"]["summary"].set_index("rep")
    >>> bool(summary.loc["X_wi", "map"] > summary.loc["pca", "map"] > summary.loc["chance", "map"])
    True
    """
    from scwhatif.metrics import retrieval_scores

    check_rep(adata, use_rep)
    _check_settings(adata, model, floors, max_queries=max_queries, n_init=n_init, n_boot=n_boot, n_perm=n_permutations)
    identity = _labels(adata, identity_key, "identity_key")
    exam = None if positive_diff_by is None else _labels(adata, positive_diff_by, "positive_diff_by")
    near = None if negative_same_by is None else _labels(adata, negative_same_by, "negative_same_by")
    block = None if block_by is None else _labels(adata, block_by, "block_by")
    centre = None if center_by is None else _labels(adata, center_by, "center_by")
    asking = _asking(identity, exam, near)
    if not asking.any():
        msg = _nobody_asks(identity, identity_key, positive_diff_by)
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    queries = draw_evenly(np.flatnonzero(asking), identity, max_queries, rng)
    settings: dict[str, Any] = {"exam": exam, "within": near, "metric": metric, "ks": ks}

    scores = {use_rep: [retrieval_scores(_centred(adata.obsm[use_rep], centre), identity, queries=queries, **settings)]}
    n_dims = adata.obsm[use_rep].shape[1]
    for name, codes in _floor_codes(adata, model, floors, layer, n_dims, n_init, seed):
        scores.setdefault(name, []).append(
            retrieval_scores(_centred(codes, centre), identity, queries=queries, **settings)
        )
    summary, own = summary_table(scores, use_rep, identity[queries], ks, n_boot, rng)
    found = adata.copy() if copy else adata
    for name in ("ap", "rank"):
        values = np.full(adata.n_obs, np.nan)
        values[queries] = own[name]
        found.obs[f"{key_added}_{name}"] = values
    found.uns[key_added] = {
        "summary": summary,
        "identities": identity_table(own, adata.obs[identity_key].to_numpy()[queries], f"rank@{min(ks)}"),
        "counts": {
            "n_queries": len(queries),
            "n_orphans": int((~asking).sum()),
            "n_identities": len(np.unique(identity[queries])),
            "gallery": float((own["n_positive"] + own["n_negative"]).mean()),
        },
        "pval": shuffled_pval(
            _centred(adata.obsm[use_rep], centre), identity, block, queries, n_permutations, settings, rng
        ),
        Key.uns.PARAMS: params(
            model,
            identity_key=identity_key,
            use_rep=use_rep,
            positive_diff_by=positive_diff_by,
            negative_same_by=negative_same_by,
            floors=list(floors) or None,
            layer=layer,
            metric=metric,
            center_by=center_by,
            ks=list(ks),
            max_queries=max_queries,
            n_init=n_init,
            n_boot=n_boot,
            n_permutations=n_permutations,
            block_by=block_by,
            seed=seed,
        ),
    }
    return found if copy else None


def _check_settings(
    adata: AnnData,
    model: BaseModelClass | None,
    floors: Sequence[str],
    *,
    max_queries: int | None,
    n_init: int,
    n_boot: int,
    n_perm: int,
) -> None:
    if isinstance(floors, str):
        msg = f"floors={floors!r} must be a sequence, such as ({floors!r},)."
        raise ValueError(msg)
    for name in floors:
        if name not in _FLOORS and name not in adata.obsm:
            msg = f"floors holds {name!r}, which is none of {_FLOORS} and no key of adata.obsm: {list(adata.obsm)}."
            raise KeyError(msg)
    if "untrained" in floors and model is None:
        msg = "The floor 'untrained' needs the model: rank_retrieval(adata, model, …)."
        raise ValueError(msg)
    for name, value, least in (("max_queries", max_queries, 1), ("n_init", n_init, 1), ("n_boot", n_boot, 1)):
        if value is not None and value < least:
            msg = f"{name}={value} must be at least {least}."
            raise ValueError(msg)
    if n_perm < 0:
        msg = f"n_permutations={n_perm} must be 0, for none, or more."
        raise ValueError(msg)


def _labels(adata: AnnData, key: str, name: str) -> NDArray[np.int64]:
    check_obs_key(adata, key, name)
    codes, _ = pd.factorize(adata.obs[key])
    if (codes < 0).any():
        msg = f"adata.obs[{key!r}] is missing for {int((codes < 0).sum())} cells; leave them out."
        raise ValueError(msg)
    return codes.astype(np.int64)


def _asking(
    identity: NDArray[np.int64], exam: NDArray[np.int64] | None, near: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Which cells have an answer and a competitor."""
    frame = pd.DataFrame({"identity": identity})
    frame["exam"] = 0 if exam is None else exam
    frame["near"] = 0 if near is None else near
    n_identity = frame.groupby("identity")["exam"].transform("size")
    n_same = frame.groupby(["identity", "exam"])["exam"].transform("size") if exam is not None else 1
    n_near = frame.groupby("near")["near"].transform("size")
    n_near_same = frame.groupby(["near", "identity"])["near"].transform("size")
    return ((n_identity > n_same) & (n_near > n_near_same)).to_numpy()


def _nobody_asks(identity: NDArray[np.int64], identity_key: str, exam_key: str | None) -> str:
    if len(np.unique(identity)) == 1:
        return f"adata.obs[{identity_key!r}] holds one identity only, so there is nothing to tell it from."
    if exam_key is None:
        return f"No identity of adata.obs[{identity_key!r}] has two cells (that compete with any other)."
    return (
        f"No identity of adata.obs[{identity_key!r}] was seen in two values of adata.obs[{exam_key!r}], so no cell has "
        "an answer; pass another positive_diff_by, or None."
    )


def _centred(codes: Any, groups: NDArray[np.int64] | None) -> Any:
    if groups is None:
        return codes
    z = np.asarray(codes.toarray() if hasattr(codes, "toarray") else codes, dtype=np.float64)
    means = np.zeros((groups.max() + 1, z.shape[1]))
    np.add.at(means, groups, z)
    return z - (means / np.bincount(groups)[:, None])[groups]


def _floor_codes(
    adata: AnnData,
    model: BaseModelClass | None,
    floors: Sequence[str],
    layer: str | None,
    n_dims: int,
    n_init: int,
    seed: int,
) -> Iterator[tuple[str, Any]]:
    from scwhatif.tl._floor_codes import floor_codes, log_normalised
    from scwhatif.tl._untrained_codes import untrained_codes

    data = None
    if {"raw", "pca"} & set(floors):
        check_layer(adata, layer)
        data, _ = log_normalised(adata.X if layer is None else adata.layers[layer])
    for name in dict.fromkeys(floors):
        if name == "raw":
            yield name, data
        elif name == "pca":
            yield name, floor_codes(data, n_dims, ["pca"], seed=seed)["pca"]
        elif name == "untrained" and model is not None:
            for codes in untrained_codes(model, adata, range(seed, seed + n_init)):
                yield name, codes
        else:
            check_rep(adata, name)
            yield name, np.asarray(adata.obsm[name])
