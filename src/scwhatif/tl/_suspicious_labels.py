"""Cells whose label is likely to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_at_least_one, check_groups, check_rep

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class _Threshold(NamedTuple):
    threshold: float
    estimate: dict[str, float]


def suspicious_labels(
    adata: AnnData,
    *,
    identity_key: str,
    use_rep: str = Key.obsm.LATENT,
    n_neighbours: int = 5,
    precision: float = 0.8,
    share: float = 0.1,
    n_plantings: int = 5,
    key_added: str = Key.uns.SUSPICIOUS_LABELS,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""List cells that lie among cells of another identity, with a test of how well such a list finds wrong labels.

    The hardest positives of a data set are often its wrong labels: what ruins training is of use here. The score of a
    cell is its mean cosine with the nearest cells of the identity it fits best among the others, less that with the
    nearest of its own. How high is high depends on the data: where identities overlap, right labels score high too. So
    wrong labels are **planted**: a share of the cells is given another identity at random and scored anew, which tells
    the share :math:`r(t)` of wrong labels that scores above :math:`t`. With :math:`F(t)` of all cells above it as
    labelled, no more than :math:`\pi = \min_t F(t) / r(t)` of the labels can be wrong, and of the cells above :math:`t`
    at most :math:`\pi\, r(t) / F(t)` are. The threshold is the lowest with ``precision`` by this.

    It takes mistakes to be made at random. Real ones go to similar identities and are harder to find than planted ones,
    and of labels that are all right a few are flagged nevertheless. The list is for looking at, not for deleting from.

    Parameters
    ----------
    adata
        Cells with an embedding that was **not** trained on these labels.
    identity_key
        Column of ``obs`` with the labels.
    use_rep
        Key of ``obsm``.
    n_neighbours
        Cells of each identity to compare with.
    precision
        Share of wrong labels that is wanted among the flagged.
    share
        Share of labels that may be wrong, at most; in as many are wrong ones planted.
    n_plantings
        How often.
    key_added
        Key of ``uns``, and prefix of the columns of ``obs``.
    seed
        Of the plantings.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obs["suspicious_labels_score"]`` : float64
        Above 0 if another identity is nearer.
    ``obs["suspicious_labels_null"]`` : float64
        Mean score that the cell would have with one of the other identities for a label; a score near it says that the
        label fits no better than one at random.
    ``obs["suspicious_labels_suggested"]`` : categorical
        The other identity it is nearest to.
    ``obs["suspicious_labels_flagged"]`` : bool
        Whether the score is above the threshold.
    ``uns["suspicious_labels"]["planted"]`` : DataFrame
        One row per planting: ``n_planted`` (int64), ``auc`` (of the score for planted against other cells),
        ``precision_at_n`` (share of planted ones among the ``n_planted`` highest scores; wrong labels that were there
        before count against it) and ``recall`` (share of planted ones above the threshold); float64.
    ``uns["suspicious_labels"]["threshold"]`` : float
        Infinite if no score reaches the precision.
    ``uns["suspicious_labels"]["estimate"]`` : dict
        ``wrong_share`` (:math:`\pi`, not above ``share``), ``flagged_share``, and ``precision`` and ``recall`` of the
        flagged by the above (NaN where none is).
    ``uns["suspicious_labels"]["params"]`` : dict
        Arguments and versions.

    Raises
    ------
    KeyError
        The column or embedding does not exist.
    ValueError
        Labels are missing, there is only one or one has a single cell, the embedding is not finite or has a row of
        length 0, or a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(300, 30, 4, n_cell_types=3, n_batches=1, seed=0)
    >>> truth = adata.obs["cell_type"].astype(str)
    >>> centre = {name: 6 * np.eye(4)[i] for i, name in enumerate(sorted(set(truth)))}
    >>> adata.obsm["X_wi"] = adata.obsm["true_factors"] + np.array([centre[name] for name in truth])
    >>> swapped = truth.map({"type_0": "type_1", "type_1": "type_2", "type_2": "type_0"})
    >>> adata.obs["label"] = truth.where(np.arange(300) % 30 > 0, swapped)
    >>> wi.tl.suspicious_labels(adata, identity_key="label")
    >>> flagged, wrong = adata.obs["suspicious_labels_flagged"], adata.obs["label"] != truth
    >>> int(wrong.sum()), int(flagged[wrong].sum()), bool(flagged.sum() < 20)
    (10, 10, True)
    """
    check_rep(adata, use_rep)
    labels = check_groups(adata, identity_key)
    for name, value in (("precision", precision), ("share", share)):
        if not 0 < value < 1:
            msg = f"{name}={value} must be between 0 and 1."
            raise ValueError(msg)
    check_at_least_one(n_neighbours=n_neighbours, n_plantings=n_plantings)
    z = np.asarray(adata.obsm[use_rep], dtype=np.float64)
    still = ~z.any(axis=1)
    if still.any():
        msg = f"{int(still.sum())} rows of adata.obsm[{use_rep!r}] have length 0, and so no direction; remove them."
        raise ValueError(msg)
    names, codes = np.asarray(labels.categories.astype(str)), labels.codes.astype(np.int64)
    score, suggested, null = _scores(z, codes, len(names), n_neighbours)
    plantings = _plant(z, codes, len(names), n_neighbours, share, n_plantings, np.random.default_rng(seed))
    found = _threshold(score, np.concatenate([planted[wrong] for planted, wrong in plantings]), share, precision)
    target = adata.copy() if copy else adata
    target.obs[f"{key_added}_score"] = score
    target.obs[f"{key_added}_null"] = null
    target.obs[f"{key_added}_suggested"] = pd.Categorical(names[suggested], categories=names)
    target.obs[f"{key_added}_flagged"] = score >= found.threshold
    target.uns[key_added] = {
        "planted": _table(plantings, found.threshold),
        "threshold": found.threshold,
        "estimate": found.estimate,
        Key.uns.PARAMS: params(
            identity_key=identity_key,
            use_rep=use_rep,
            n_neighbours=n_neighbours,
            precision=precision,
            share=share,
            n_plantings=n_plantings,
            seed=seed,
        ),
    }
    return target if copy else None


def _scores(
    z: NDArray, codes: NDArray[np.int64], n_identities: int, n_neighbours: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Score as labelled, the best other identity, and the mean score with any other label."""
    from scwhatif.metrics._label_support import label_support

    support = label_support(z, codes, n_identities, n_neighbours=n_neighbours)
    rows = np.arange(len(z))
    own = support[rows, codes]
    others = np.where(np.isnan(support), -np.inf, support)
    first = others.max(axis=1)
    # the best identity but the one a cell would be labelled with
    second = np.partition(others, -2, axis=1)[:, -2]
    best = np.where(others == first[:, None], second[:, None], first[:, None])
    swapped = best - support
    swapped[rows, codes] = np.nan
    others[rows, codes] = -np.inf
    known = ~np.isnan(swapped)
    null = np.where(known, swapped, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return others.max(axis=1) - own, others.argmax(axis=1), null


def _plant(
    z: NDArray,
    codes: NDArray[np.int64],
    n_identities: int,
    n_neighbours: int,
    share: float,
    n_plantings: int,
    rng: np.random.Generator,
) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Scores of all cells with some labels made wrong, and which."""
    n_planted = max(1, round(share * len(z)))
    plantings = []
    for _ in range(n_plantings):
        rows = rng.choice(len(z), n_planted, replace=False)
        planted = codes.copy()
        planted[rows] = (codes[rows] + rng.integers(1, n_identities, size=n_planted)) % n_identities
        score = _scores(z, planted, n_identities, n_neighbours)[0]
        # the last row of an identity cannot be judged, so it is not found
        plantings.append((np.where(np.isnan(score), -np.inf, score), np.isin(np.arange(len(z)), rows)))
    return plantings


def _threshold(score: NDArray[np.float64], planted: NDArray[np.float64], share: float, precision: float) -> _Threshold:
    """The lowest score above which enough labels may be wrong."""
    order = np.sort(score)[::-1]
    above = np.arange(1, len(order) + 1) / len(order)
    recall = 1 - np.searchsorted(np.sort(planted), order) / len(planted)
    with np.errstate(divide="ignore"):
        wrong_share = min(share, float((above / recall).min()))
    may_be = np.minimum(wrong_share * recall / above, 1.0)
    enough = np.flatnonzero(may_be >= precision)
    if not len(enough):
        return _Threshold(
            np.inf, {"wrong_share": wrong_share, "flagged_share": 0.0, "precision": np.nan, "recall": np.nan}
        )
    last = enough[-1]
    estimate = {"flagged_share": above[last], "precision": may_be[last], "recall": recall[last]}
    return _Threshold(
        float(order[last]), {"wrong_share": wrong_share, **{name: float(each) for name, each in estimate.items()}}
    )


def _table(plantings: list[tuple[NDArray[np.float64], NDArray[np.bool_]]], threshold: float) -> pd.DataFrame:
    from sklearn.metrics import roc_auc_score

    rows = [
        {
            "n_planted": int(wrong.sum()),
            # no cosine is further from another than 2
            "auc": float(roc_auc_score(wrong, np.maximum(score, -2.0))),
            "precision_at_n": float(wrong[np.argsort(-score, kind="stable")[: wrong.sum()]].mean()),
            "recall": float((score >= threshold)[wrong].mean()),
        }
        for score, wrong in plantings
    ]
    return pd.DataFrame(rows, index=pd.Index([str(i) for i in range(len(rows))]))
