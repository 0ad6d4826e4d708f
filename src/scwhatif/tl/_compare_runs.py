"""What several runs of training did, epoch by epoch, and what it means."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from anndata import AnnData
    from mudata import MuData

_MONITORED = "embedding_"
# What a training plan calls the loss of an epoch, in the order of preference.
_LOSSES = ("loss", "train_loss_epoch", "train_loss", "loss_train", "elbo_train")
_RULED = ("loss", "map", "ratio", "active_pairs", "mean_cosine")
_FEWEST = 4


def compare_runs(
    adata: AnnData | MuData,
    runs: Mapping[str, Any] | Any,
    *,
    criterion: str = "map",
    mode: Literal["max", "min"] = "max",
    window: int = 10,
    key_added: str = Key.uns.COMPARE_RUNS,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Put the histories of one or several runs into one table, and say where they were going.

    The best epoch is by ``criterion``, never by the loss, and epoch 0 takes part: it is the untrained model, or the
    input itself where the model starts from it. The rules of :func:`scwhatif.metrics.training_trends` are applied at
    the end of every epoch, as one who watched would have done.

    Parameters
    ----------
    adata
        What to write into.
    runs
        By name, or a single one: a trained model, its ``history``, an :class:`scwhatif.train.EmbeddingMonitor`, a
        DataFrame with a column ``epoch``, or a list of these to be joined by epoch, such as ``[model, monitor]``. A
        ``history`` of scvi-tools starts after the first epoch; epoch 0 is known to the monitor, and to the ``table_``
        of a :class:`scwhatif.model.MetricEncoder`, which is taken of such a model.
    criterion
        Column that says which epoch is best.
    mode
        Whether the largest or the smallest is best.
    window
        Number of last epochs of a trend.
    key_added
        Key of ``uns`` to write to.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["compare_runs"]["epochs"]`` : DataFrame
        One row per run and epoch: ``run``, ``epoch`` (int64, number of epochs run), ``loss`` (of training), and every
        number and text that was logged once an epoch, without the prefix ``embedding_``. Numbers that were not logged
        are NaN, texts empty.
    ``uns["compare_runs"]["trends"]`` : DataFrame
        One row per run and number: ``run``, ``metric``, ``slope``, ``pval``, ``state``, ``last``, ``best_epoch``, see
        :func:`scwhatif.metrics.training_trends`.
    ``uns["compare_runs"]["messages"]`` : DataFrame
        One row per run and rule that applied at the end of some epoch, from the fourth on: ``run``, ``message``,
        ``first`` and ``last`` (int64, epochs at whose end it applied first and last), ``now`` (bool, whether at the
        end).
    ``uns["compare_runs"]["summary"]`` : DataFrame
        One row per run, the best first: ``run``, ``n_epochs``, ``best_epoch`` (int64), ``start`` (the criterion in
        epoch 0; NaN if it was not measured), ``best``, ``last``, ``gain`` (``best`` over ``start``, positive if better)
        and ``advice``: ``"keep the input"`` (epoch 0 is best, and the run is a model that starts as its input, which is
        :class:`scwhatif.model.MetricEncoder` with ``encoder="residual"``), ``"training does not help"`` (epoch 0 is
        best, of any other run: it may be an untrained network), ``"take the best epoch"`` (the last is not the best)
        or ``"take the last epoch"``.
    ``uns["compare_runs"]["params"]`` : dict
        Arguments and versions.

    Warns
    -----
    UserWarning
        Runs were measured on different numbers of queries or galleries, so that they cannot be compared.

    Raises
    ------
    KeyError
        No run has the criterion.
    TypeError
        A run is none of the above.
    ValueError
        A model has no history, a table has no column ``epoch`` or one epoch twice, there is no run, or a setting is
        not known.

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(50, 20, 3, seed=0)
    >>> epoch = range(12)
    >>> good = pd.DataFrame(
    ...     {"epoch": epoch, "loss": [1 / (1 + t) for t in epoch], "map": [0.6 + t / 50 for t in epoch]}
    ... )
    >>> bad = good.assign(map=0.6 - good["map"] / 10, ratio=range(12))
    >>> wi.tl.compare_runs(adata, {"bad": bad, "good": good})
    >>> adata.uns["compare_runs"]["summary"][["run", "best_epoch", "advice"]]
        run  best_epoch                  advice
    0  good          11     take the last epoch
    1   bad           0  training does not help
    >>> messages = adata.uns["compare_runs"]["messages"]
    >>> messages["message"].iloc[0], int(messages["first"].iloc[0])
    ('ratio up, map down: the pairs the loss sees are not the neighbours', 4)
    """
    from scwhatif.metrics import training_trends

    if mode not in ("max", "min"):
        msg = f"mode={mode!r} must be one of ('max', 'min')."
        raise ValueError(msg)
    named = runs if _is_named(runs) else {"run": runs}
    if not named:
        msg = "runs is empty; give a run, or several by name."
        raise ValueError(msg)
    tables = {str(name): _table(name, run) for name, run in named.items()}
    if not any(criterion in table for table in tables.values()):
        known = sorted(set().union(*(table.columns for table in tables.values())) - {"epoch"})
        msg = f"criterion={criterion!r} was logged in no run; known are {known}."
        raise KeyError(msg)
    trends, messages = [], []
    for name, table in tables.items():
        found = training_trends(table.select_dtypes("number"), window=window).table
        trends.append(found.assign(run=name)[["run", *found.columns]])
        messages.append(_messages(name, table, window))
    _warn_if_not_comparable(tables)
    inputs = {str(name) for name, run in named.items() if _starts_as_input(run)}
    target = adata.copy() if copy else adata
    target.uns[key_added] = {
        "epochs": _stacked([table.assign(run=name) for name, table in tables.items()], first=("run", "epoch")),
        "trends": _stacked(trends),
        "messages": _stacked(messages),
        "summary": _summary(tables, criterion, mode, inputs),
        Key.uns.PARAMS: params(criterion=criterion, mode=mode, window=window),
    }
    return target if copy else None


def _is_named(runs: Any) -> bool:
    """Whether these are runs by name, and not the one history of a model, whose frames are indexed by epoch."""
    if not isinstance(runs, dict):
        return False
    return not all(isinstance(each, pd.DataFrame) and "epoch" not in each for each in runs.values()) or not runs


def _table(name: str, run: Any) -> pd.DataFrame:
    """One row per epoch of a run."""
    parts = [_part(name, each) for each in (run if isinstance(run, list | tuple) else [run])]
    table = parts[0]
    for part in parts[1:]:
        # what comes later knows better, as a monitor knows what was rounded on its way through the history
        table = part.combine_first(table)
    table = table.sort_index()
    loss = next((each for each in _LOSSES if each in table), None)
    if loss is not None and loss != "loss":
        table = table.rename(columns={loss: "loss"})
    for column in table:
        values = table[column]
        if pd.api.types.is_numeric_dtype(values) or values.dropna().map(np.isscalar).all():
            numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
            known = values.notna()
            text = bool(numbers[known].isna().any())
            table[column] = values.astype(object).where(known, "").astype(str) if text else numbers
    return table.rename_axis("epoch").reset_index().astype({"epoch": np.int64})


def _part(name: str, run: Any) -> pd.DataFrame:
    """A model, history, monitor or table, indexed by the number of epochs run."""
    if isinstance(run, pd.DataFrame):
        frame = run
    elif getattr(run, "table_", None) is not None:
        frame = run.table_
    elif isinstance(run, dict):
        return _history(name, run)
    elif hasattr(run, "history"):
        if not run.history:
            msg = f"The model of run {name!r} has no history; train it, or keep what its monitor saw."
            raise ValueError(msg)
        return _history(name, run.history)
    else:
        msg = (
            f"Run {name!r} is a {type(run).__name__}; give a model, its history, an EmbeddingMonitor, a DataFrame with "
            "a column 'epoch', or a list of these."
        )
        raise TypeError(msg)
    if "epoch" not in frame:
        msg = f"The table of run {name!r} needs a column 'epoch'; it has {list(frame.columns)}."
        raise ValueError(msg)
    if frame["epoch"].duplicated().any():
        msg = f"The table of run {name!r} has epoch {frame.loc[frame['epoch'].duplicated(), 'epoch'].iloc[0]} twice."
        raise ValueError(msg)
    return frame.drop(columns="run", errors="ignore").set_index("epoch")


def _history(name: str, history: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    columns = {}
    for key, frame in history.items():
        if key.endswith("_step") or not isinstance(frame, pd.DataFrame):
            continue
        values = frame.iloc[:, 0]
        # scvi-tools counts from the first epoch, which has been run when it is logged
        columns[key.removeprefix(_MONITORED)] = values.set_axis(np.asarray(frame.index, dtype=np.int64) + 1)
    if not columns:
        msg = f"The history of run {name!r} is empty."
        raise ValueError(msg)
    return pd.DataFrame(columns)


def _messages(name: str, table: pd.DataFrame, window: int) -> pd.DataFrame:
    """When each rule applied, as seen at the end of every epoch."""
    from scwhatif.metrics import training_trends

    ruled = table[["epoch", *(each for each in _RULED if each in table)]]
    last = int(ruled["epoch"].max())
    seen: dict[str, list[int]] = {}
    for epoch in ruled["epoch"]:
        if epoch >= min(_FEWEST, last):
            for message in training_trends(ruled[ruled["epoch"] <= epoch], window=window).messages:
                seen.setdefault(message, []).append(int(epoch))
    return pd.DataFrame(
        {
            "run": [name] * len(seen),
            "message": list(seen),
            "first": np.array([epochs[0] for epochs in seen.values()], dtype=np.int64),
            "last": np.array([epochs[-1] for epochs in seen.values()], dtype=np.int64),
            "now": np.array([epochs[-1] == last for epochs in seen.values()], dtype=bool),
        }
    )


def _starts_as_input(run: Any) -> bool:
    """Whether a model is its input before training, as a residual head is."""
    parts = run if isinstance(run, list | tuple) else [run]
    return any(getattr(each, "encoder", None) == "residual" for each in parts)


def _summary(
    tables: Mapping[str, pd.DataFrame], criterion: str, mode: str, starting_as_input: Collection[str]
) -> pd.DataFrame:
    sign = 1.0 if mode == "max" else -1.0
    rows = []
    for name, table in tables.items():
        known = table[table[criterion].notna()] if criterion in table else table.iloc[:0]
        row: dict[str, Any] = {"run": name, "n_epochs": int(table["epoch"].max()), "best_epoch": -1}
        row |= {"start": np.nan, "best": np.nan, "last": np.nan, "gain": np.nan, "advice": ""}
        if len(known):
            values = known[criterion].to_numpy(np.float64)
            # of equals the first, which is the least training
            best = int((sign * values).argmax())
            start = values[0] if known["epoch"].iloc[0] == 0 else np.nan
            row |= {
                "best_epoch": int(known["epoch"].iloc[best]),
                "start": start,
                "best": values[best],
                "last": values[-1],
                "gain": sign * (values[best] - start),
            }
            if row["best_epoch"] == 0:
                row["advice"] = "keep the input" if name in starting_as_input else "training does not help"
            else:
                row["advice"] = "take the last epoch" if best == len(values) - 1 else "take the best epoch"
        rows.append(row)
    summary = pd.DataFrame(rows)
    order = (sign * summary["best"]).sort_values(ascending=False, kind="stable").index
    return _stacked([summary.loc[order]])


def _stacked(frames: list[pd.DataFrame], first: tuple[str, ...] = ()) -> pd.DataFrame:
    """One table that a file can hold: text is never missing, and the index is text."""
    table = pd.concat(frames, ignore_index=True)
    for column in table:
        if table[column].dtype == object:
            table[column] = table[column].where(table[column].notna(), "").astype(str)
    table.index = table.index.astype(str)
    return table[[*first, *(column for column in table if column not in first)]]


def _warn_if_not_comparable(tables: Mapping[str, pd.DataFrame]) -> None:
    for name in ("n_queries", "gallery"):
        sizes = {run: float(table[name].dropna().iloc[-1]) for run, table in tables.items() if name in table}
        if len(set(sizes.values())) > 1:
            what = "cells that ask" if name == "n_queries" else "cells ranked"
            msg = f"The runs differ in {name} ({what}): {sizes}. Their retrieval cannot be compared."
            warnings.warn(msg, UserWarning, stacklevel=3)
