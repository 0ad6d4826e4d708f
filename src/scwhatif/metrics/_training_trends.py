"""Where the numbers of a run are going, and what it means when they part ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

_FLAT_SHARE = 0.01
_ALPHA = 0.05
_FEW_ACTIVE, _MANY_ACTIVE = 0.02, 0.95
_MANY_EPOCHS = 5
_COLLAPSING = 0.3


class TrainingTrends(NamedTuple):
    """Trends of a run and what they mean together.

    Parameters
    ----------
    table
        One row per metric: ``metric``, ``slope`` (per epoch, Theil and Sen), ``pval`` (Mann and Kendall), ``state``
        (``"up"``, ``"down"`` or ``"flat"``), ``last`` and ``best_epoch`` (of the largest value).
    messages
        The rules that apply, in words.
    """

    table: pd.DataFrame
    messages: tuple[str, ...]


def training_trends(history: pd.DataFrame, *, window: int = 10) -> TrainingTrends:
    r"""Trends over the last epochs of a run, and what they mean together.

    A slope is the median of all slopes between two epochs :cite:p:`Sen1968`, its p-value that of Kendall's :math:`\tau`
    with time. A metric is flat if that is above .05, or if the slope over the whole window is below 1 % of the range
    seen in the run. No threshold says what a good value is: a ratio of 24 has come with the worst retrieval of a table
    and one of 6 with the best. The rules look at what disagrees:

    ================================================ ==================================================================
    what is seen                                     message
    ================================================ ==================================================================
    loss down, ``map`` not up                        the objective is not aligned with retrieval
    ``ratio`` up, ``map`` down                       the pairs the loss sees are not the neighbours
    ``active_pairs`` below 2 %                       no hard pairs are left, or the miner picks the wrong ones
    ``active_pairs`` above 95 % for five epochs      the margin is too large
    ``mean_cosine`` .3 above that of the first epoch the embedding is collapsing
    best ``map`` in epoch 0                          training did not help: keep the input
    ================================================ ==================================================================

    Parameters
    ----------
    history
        One row per epoch in order, with a column ``epoch`` (0 is before training) and any of ``loss``, ``map``,
        ``ratio`` (between identities over within), ``active_pairs`` (share of the pairs or triplets of a batch whose
        loss is above 0), ``mean_cosine`` and others; NaN where unknown.
    window
        Number of last epochs to look at.

    Returns
    -------
    The trends.

    Raises
    ------
    ValueError
        There is no column ``epoch``, or ``window`` is below 4, the fewest epochs that can show a trend.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> epoch = np.arange(12)
    >>> run = pd.DataFrame({"epoch": epoch, "loss": 1 / (1 + epoch), "map": 0.7 - 0.01 * epoch, "ratio": 4.0 + epoch})
    >>> wi.metrics.training_trends(run).messages[0]
    'ratio up, map down: the pairs the loss sees are not the neighbours'
    """
    from scipy.stats import kendalltau, theilslopes

    if "epoch" not in history:
        msg = f"history needs a column 'epoch'; it has {list(history.columns)}."
        raise ValueError(msg)
    if window < 4:
        msg = f"window={window} must be at least 4: fewer epochs cannot show a trend."
        raise ValueError(msg)
    rows = []
    for name in history.columns.drop("epoch"):
        values = pd.to_numeric(history[name], errors="coerce")
        known = values.notna()
        if not known.any():
            continue
        epoch, y = history.loc[known, "epoch"].to_numpy(float), values[known].to_numpy(float)
        recent_epoch, recent = epoch[-window:], y[-window:]
        slope, pval = 0.0, 1.0
        if len(recent) > 1 and np.ptp(recent) > 0:
            slope = float(theilslopes(recent, recent_epoch)[0])
            pval = float(kendalltau(recent_epoch, recent).pvalue)
        flat = not pval <= _ALPHA or abs(slope) * len(recent) < _FLAT_SHARE * np.ptp(y)
        rows.append(
            {
                "metric": name,
                "slope": slope,
                "pval": pval,
                "state": "flat" if flat else "up" if slope > 0 else "down",
                "last": y[-1],
                "best_epoch": int(epoch[y.argmax()]),
            }
        )
    table = pd.DataFrame(rows, columns=["metric", "slope", "pval", "state", "last", "best_epoch"])
    table.index = table.index.astype(str)
    return TrainingTrends(table, _messages(table.set_index("metric"), history))


def _messages(trend: pd.DataFrame, history: pd.DataFrame) -> tuple[str, ...]:
    state = trend["state"].to_dict()

    def recent(name: str, holds: Callable[[pd.Series], pd.Series], n: int) -> bool:
        values = history[name].dropna().tail(n) if name in history else pd.Series(dtype=float)
        return len(values) == n and bool(holds(values).all())

    said = []
    if state.get("ratio") == "up" and state.get("map") == "down":
        said.append("ratio up, map down: the pairs the loss sees are not the neighbours")
    if state.get("loss") == "down" and state.get("map") in ("down", "flat"):
        said.append(f"loss down, map {state['map']}: the objective is not aligned with retrieval")
    if recent("active_pairs", lambda share: share < _FEW_ACTIVE, 1):
        said.append("active_pairs below 2 %: no hard pairs are left, or the miner picks the wrong ones")
    if recent("active_pairs", lambda share: share > _MANY_ACTIVE, _MANY_EPOCHS):
        said.append("active_pairs above 95 % for five epochs: the margin is too large")
    if "mean_cosine" in history:
        first = history["mean_cosine"].dropna().head(1)
        if len(first) and recent("mean_cosine", lambda cosine: cosine > float(first.iloc[0]) + _COLLAPSING, 3):
            said.append("mean_cosine has risen by more than .3: the embedding is collapsing")
    if "map" in trend.index and trend.loc["map", "best_epoch"] == 0 and (history["epoch"] == 0).any():
        said.append("map is best in epoch 0: training did not help, so keep the input")
    return tuple(said)
