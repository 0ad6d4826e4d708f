"""Tidy tables of scores of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.tl._layer_scores import score_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from scwhatif.tl._layer_scores import Score


def score_rows(score: Score, sizes: tuple[float, float], pval: ArrayLike = np.nan, **labels: Any) -> pd.DataFrame:
    """A row for every feature of a score.

    Parameters
    ----------
    score
        The score.
    sizes
        As :func:`scwhatif.tl._layer_scores.score_interval` takes them.
    pval
        p-values, or the same for all.
    **labels
        Columns that stand first, a value each or one per feature.

    Returns
    -------
    The labels, ``effect``, ``se``, ``low``, ``high`` and ``pval``.
    """
    se, low, high = score_interval(score, sizes)
    columns = {**labels, "effect": score.value, "se": se, "low": low, "high": high}
    return pd.DataFrame({**columns, "pval": np.broadcast_to(np.asarray(pval, dtype=np.float64), score.value.shape)})


def join_rows(blocks: Sequence[pd.DataFrame], **categories: Sequence[str]) -> pd.DataFrame:
    """Put tables below each other, and adjust their p-values together.

    Parameters
    ----------
    blocks
        Tables with ``pval``.
    **categories
        Categories of columns, in order.

    Returns
    -------
    The table with ``padj`` behind ``pval`` :cite:p:`Benjamini1995`, in the form that a file gives back.
    """
    from scipy.stats import false_discovery_control

    table = pd.concat(blocks, ignore_index=True)
    tested = table["pval"].notna().to_numpy()
    adjusted = np.full(len(table), np.nan)
    if tested.any():
        adjusted[tested] = false_discovery_control(table["pval"].to_numpy()[tested])
    table.insert(table.columns.get_loc("pval") + 1, "padj", adjusted)
    for name, values in categories.items():
        table[name] = pd.Categorical(table[name], categories=list(values))
    table.index = table.index.astype(str)
    return table
