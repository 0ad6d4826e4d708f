"""Plot of runs beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, finish, panels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

_NAMES: Final = {"map": "mean average precision", "ratio": "inter / intra, all pairs", "loss": "loss (training)"}


def compare_runs(
    adata: AnnData | MuData,
    metrics: Sequence[str] | None = None,
    *,
    key: str = Key.uns.COMPARE_RUNS,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> list[Axes]:
    """Draw numbers of several runs over the epochs, one panel each.

    A line is a run; the point on it is its best epoch by the criterion of the tool. A dotted line is where the run with
    the best start was before training: what stays below it was not worth training for.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.compare_runs`.
    metrics
        Columns of its table; ``None`` is the criterion, ``ratio`` and ``loss``, as far as they were logged.
    key
        Its ``key_added``.
    ax
        Axes to draw into, one for each metric; ``None`` makes a figure.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        Runs were not compared under this key, or a metric was not logged in any.
    ValueError
        There are fewer or more axes than metrics.

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(50, 20, 3, seed=0)
    >>> run = pd.DataFrame({"epoch": range(5), "map": [0.5, 0.6, 0.7, 0.6, 0.6], "loss": [5.0, 4.0, 3.0, 2.0, 1.0]})
    >>> wi.tl.compare_runs(adata, {"a": run, "b": run.assign(map=0.55)})
    >>> axes = wi.pl.compare_runs(adata, show=False)
    >>> [ax.get_ylabel() for ax in axes]
    ['mean average precision', 'loss (training)']
    """
    result = stored(adata, key, "epochs", "runs", "scwhatif.tl.compare_runs(adata, runs")
    epochs, summary = result["epochs"], result["summary"]
    criterion = str(result[Key.uns.PARAMS]["criterion"])
    drawn = list(dict.fromkeys([criterion, "ratio", "loss"])) if metrics is None else list(metrics)
    if metrics is None:
        drawn = [name for name in drawn if name in epochs]
    numbers = [str(name) for name in epochs.select_dtypes("number").columns if name != "epoch"]
    for name in drawn:
        if name not in numbers:
            msg = f"metrics holds {name!r}, which is no number of the runs; known are {numbers}."
            raise KeyError(msg)
    grid = panels(ax, len(drawn), "metrics", per_row=3, size=(3.6, 2.9))
    palette = list(OKABE_ITO.values())
    for panel, name in zip(grid, drawn, strict=True):
        for i, row in enumerate(summary.to_dict("records")):
            run = epochs[(epochs["run"] == row["run"]) & epochs[name].notna()]
            # from where the colours come round again
            style = "-" if i < len(palette) else "--"
            color = palette[i % len(palette)]
            panel.plot(run["epoch"], run[name], color=color, ls=style, lw=1.5, label=str(row["run"]))
            best = run[run["epoch"] == row["best_epoch"]]
            panel.plot(best["epoch"], best[name], ls="", marker="o", ms=5, color=color, mec=TEXT, mew=0.8)
        if name == criterion and summary["start"].notna().any():
            mode = str(result[Key.uns.PARAMS]["mode"])
            start = summary["start"].max() if mode == "max" else summary["start"].min()
            panel.axhline(float(start), color=BACKGROUND, lw=1, ls=":", zorder=0)
        panel.set_xlabel("epoch")
        panel.set_ylabel(_NAMES.get(name, name.replace("_", " ")))
        panel.set_xlim(left=0)
    grid[0].legend(frameon=False, fontsize="small")
    for panel in grid[:-1]:
        finish(panel, show=False)
    finish(grid[-1], show)
    return grid
