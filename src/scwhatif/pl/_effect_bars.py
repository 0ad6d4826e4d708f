"""Horizontal bars of effects with their intervals, the first on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FDR = 0.05


def effect_bars(ax: Axes | None, rows: pd.DataFrame, label: str, *, interval: str) -> Axes:
    """Draw the effects of some rows, coloured where they are significant.

    Parameters
    ----------
    ax
        Axes to draw into; ``None`` makes a figure.
    rows
        With ``effect`` and ``padj``, and perhaps ``low``, ``high``.
    label
        Column with the names.
    interval
        What intervals are called in the legend.

    Returns
    -------
    The axes.
    """
    places, effect = np.arange(len(rows)), rows["effect"].to_numpy()
    significant = (rows["padj"] < FDR).to_numpy()
    color = np.where(significant, np.where(effect > 0, OKABE_ITO["vermillion"], OKABE_ITO["blue"]), BACKGROUND)
    ax = axes(ax, figsize=(4.5, 0.24 * len(rows) + 1.1))
    ax.barh(places, effect, height=0.55, color=color, lw=0)
    if "low" in rows:
        ax.hlines(places, rows["low"].to_numpy(), rows["high"].to_numpy(), color=TEXT, lw=1, label=interval)
    ax.axvline(0, color=TEXT, lw=0.8)
    ax.set_yticks(places, list(rows[label].astype(str)))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=6)
    return ax


def bar_legend(ax: Axes) -> None:
    """Put the legend above the bars, if there is anything in it, and take away the line beside the names.

    Parameters
    ----------
    ax
        The axes.
    """
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0
        )
    ax.spines["left"].set_visible(False)
