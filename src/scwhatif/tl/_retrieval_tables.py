"""Retrieval scores of many queries made into tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def summary_table(
    scores: Mapping[str, Sequence[pd.DataFrame]],
    use_rep: str,
    identity: NDArray[np.int64],
    ks: Sequence[int],
    n_boot: int,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means over queries with their intervals.

    Parameters
    ----------
    scores
        Scores of the same queries by embedding and floor, one table per draw of it.
    use_rep
        Which of them is the embedding.
    identity
        Identity of each query, as integers.
    ks, n_boot, rng
        As in :func:`scwhatif.tl.rank_retrieval`; resamples are of whole identities.

    Returns
    -------
    One row per embedding and floor, and one for chance; and the scores of the embedding.
    """
    _, codes, sizes = np.unique(identity, return_inverse=True, return_counts=True)
    draws = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=n_boot)

    def resampled(values: NDArray) -> tuple[float, float]:
        means = (draws @ np.bincount(codes, values)) / (draws @ sizes)
        return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))

    own = scores[use_rep][0]
    rows = []
    for rep, tables in scores.items():
        mean = sum(tables[1:], start=tables[0]) / len(tables)
        ap = mean["ap"].to_numpy()
        low, high = resampled(ap)
        difference = own["ap"].to_numpy() - ap
        floor = rep != use_rep
        gain = (float(difference.mean()), *resampled(difference)) if floor else (np.nan,) * 3
        rows.append(
            {
                "rep": rep,
                "kind": "floor" if floor else "embedding",
                **{f"rank@{k}": mean[f"rank@{k}"].mean() for k in ks},
                "map": ap.mean(),
                "low": low,
                "high": high,
                "map_at_r": mean["ap_at_r"].mean(),
                "auc": mean["auc"].mean(),
                "map_macro": (np.bincount(codes, ap) / sizes).mean(),
                "map_sd": float(np.std([each["ap"].mean() for each in tables], ddof=1)) if len(tables) > 1 else np.nan,
                "gain": gain[0],
                "gain_low": gain[1],
                "gain_high": gain[2],
            }
        )
    chance = {f"rank@{k}": own[f"chance_rank@{k}"].mean() for k in ks}
    expected = own["chance_ap"].to_numpy()
    macro = (np.bincount(codes, expected) / sizes).mean()
    rows.append(
        {"rep": "chance", "kind": "chance", **chance, "map": expected.mean(), "auc": 0.5, "map_macro": macro}
        | {"gain": float((own["ap"] - expected).mean())}
    )
    table = pd.DataFrame(rows, index=pd.Index([str(i) for i in range(len(rows))]))
    return table, own


def identity_table(own: pd.DataFrame, names: NDArray, first: str) -> pd.DataFrame:
    """Means over the queries of each identity.

    Parameters
    ----------
    own
        Scores of the queries.
    names
        Name of the identity of each.
    first
        Column of Rank@k to show.

    Returns
    -------
    One row per identity.
    """
    grouped = own.groupby(names.astype(str))
    table = pd.DataFrame(
        {
            "n_queries": grouped.size(),
            first: grouped[first].mean(),
            "map": grouped["ap"].mean(),
            "auc": grouped["auc"].mean(),
        }
    )
    table = table.rename_axis("identity").reset_index()
    table.index = table.index.astype(str)
    return table
