"""Tables of a cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.metrics import nadeau_bengio_interval
from scwhatif.tl._cv_scores import INPUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scwhatif.tl._cv_splits import Split

_ORDER = ["layer", "inputs", "method"]


def tabulate(rows: Sequence[dict[str, Any]], *, targets: Sequence[str], methods: Sequence[str]) -> pd.DataFrame:
    """Put the rows of all folds into one table.

    Parameters
    ----------
    rows
        As :func:`scwhatif.tl._cv_scores.score_fold` returns them.
    targets, methods
        In the order in which they are to stand.

    Returns
    -------
    The table, folds within layer, inputs and method.
    """
    table = pd.DataFrame(list(rows))
    categories = {"layer": list(targets), "inputs": list(INPUTS), "method": list(methods)}
    for column, order in categories.items():
        there = [each for each in order if each in set(table[column])]
        table[column] = pd.Categorical(table[column], categories=there)
    table = table.sort_values([*_ORDER, "repeat", "fold"], ignore_index=True)
    return table[["fold", "repeat", *_ORDER, "r2", "r2_median", "r2_pooled", "n_samples", "coverage"]]


def fold_table(splits: Sequence[Split], names: pd.Index) -> pd.DataFrame:
    """Say which samples were held out in which fold.

    Parameters
    ----------
    splits
        The folds.
    names
        Of all samples.

    Returns
    -------
    Columns ``sample``, ``repeat`` and ``fold``.
    """
    parts = [
        pd.DataFrame({"sample": names[split.test].astype(str), "repeat": split.repeat, "fold": split.fold})
        for split in splits
    ]
    return pd.concat(parts, ignore_index=True)


def summarise(
    table: pd.DataFrame, splits: Sequence[Split], *, baselines: Sequence[str], confidence: float
) -> pd.DataFrame:
    """Mean over folds of every method, and how far it is above each baseline.

    Parameters
    ----------
    table
        From :func:`tabulate`.
    splits
        The folds.
    baselines
        Those that others are compared with.
    confidence
        Of the intervals.

    Returns
    -------
    One row per layer, inputs and method. An interval of R² ends at 1, the most it can be; differences have no limit.
    """
    sizes = {(s.repeat, s.fold): (len(s.train) + len(s.validation), len(s.test)) for s in splits}
    n_train, n_test = (np.array(each, dtype=float) for each in zip(*sizes.values(), strict=True))
    folds = pd.MultiIndex.from_tuples(list(sizes), names=["repeat", "fold"])

    def interval(scores: pd.Series) -> tuple[float, float, float]:
        found = nadeau_bengio_interval(
            scores.reindex(folds).to_numpy(dtype=float), n_train=n_train, n_test=n_test, confidence=confidence
        )
        return float(found.mean), float(found.low), float(found.high)

    r2 = {key: part.set_index(["repeat", "fold"])["r2"] for key, part in table.groupby(_ORDER, observed=True)}
    rows = []
    for (layer, inputs, method), part in table.groupby(_ORDER, observed=True):
        scores = r2[layer, inputs, method]
        row: dict[str, Any] = {"layer": layer, "inputs": inputs, "method": method}
        row["r2"], low, high = interval(scores)
        # Student's interval knows of no limits
        row["low"], row["high"] = np.clip([low, high], -np.inf, 1.0).tolist()
        row["sd"] = float(scores.std())
        row |= {name: float(part[name].mean()) for name in ("r2_median", "r2_pooled", "coverage")}
        row["n_folds"] = int(scores.notna().sum())
        for baseline in baselines:
            other = None if baseline == method else r2.get((layer, inputs, baseline))
            difference = (np.nan,) * 3 if other is None else interval(scores - other)
            keys = (f"above_{baseline}", f"above_{baseline}_low", f"above_{baseline}_high")
            row |= dict(zip(keys, difference, strict=True))
        rows.append(row)
    summary = pd.DataFrame(rows)
    for column in _ORDER:
        summary[column] = pd.Categorical(summary[column], categories=table[column].cat.categories)
    return summary
