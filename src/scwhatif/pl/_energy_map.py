"""Plot of cell lines by their energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._label_points import label_points
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_CALL = "scwhatif.tl.energy_map(adata, model"
_LABELS = {
    "intercept": "intercept of the logit",
    "slope": "slope of the logit",
    "R": "energy R of the line",
    "T": "temperature T",
}
# Height of a line in inches, room for names and axes.
_ROW, _FRAME = 0.3, 1.1


def energy_map(
    adata: AnnData,
    by: Literal["slope", "R"] = "slope",
    *,
    channel: int = 0,
    key: str = Key.uns.ENERGY_MAP,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the cell lines by slope and intercept, or by energy, with 95 % ranges over draws of the support set.

    Filled points are lines that the model learnt from, open points are lines that it has not seen.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.energy_map`.
    by
        ``"slope"``: slope of the logit against its intercept. ``"R"``: energies from low to high (scalar interaction
        only).
    channel
        Channel of the slope, where the model has several.
    key
        Its ``key_added``.
    ax
        Axes to draw into; ``None`` makes a figure.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        The map was not made under this key, or its model has no such channel or no energy to report.
    ValueError
        ``by`` is unknown.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 4, 10)
    >>> wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    >>> model = wi.model.CellLineEnergyModel(adata, trees_weight=0.0, n_hidden=16)
    >>> model.train(max_epochs=3, enable_progress_bar=False)
    >>> wi.tl.energy_map(adata, model, n_support=64)
    >>> wi.pl.energy_map(adata, show=False).get_ylabel()
    'slope of the logit'
    """
    if by not in ("slope", "R"):
        msg = f"by={by!r} is not 'slope' or 'R'."
        raise ValueError(msg)
    table = stored(adata, key, "lines", "map of energies", _CALL)["lines"]
    if by == "R":
        return finish(_energies(table, key, ax), show)
    several = "slope" not in table
    name = f"slope_{channel}" if several else "slope"
    if name not in table or (not several and channel):
        held = [column for column in table if f"{column}_sd" in table and column.startswith("slope")]
        msg = f"channel={channel} is not in adata.uns[{key!r}]; it holds {held}."
        raise KeyError(msg)
    ax = axes(ax, figsize=(5.0, 3.8))
    for seen, rows in table.groupby("seen"):
        _points(ax, rows, "intercept", rows[name], seen=bool(seen), y=name)
    ax.set_xlabel(_LABELS["intercept"])
    ax.set_ylabel(_LABELS["slope"] + (f", channel {channel}" if several else ""))
    ax.margins(0.12)
    _legend(ax, table)
    label_points(ax, table["intercept"], table[name], [str(line) for line in table["cell_line"]], color=TEXT)
    return finish(ax, show)


def _energies(table: pd.DataFrame, key: str, ax: Axes | None) -> Axes:
    if "R" not in table:
        msg = f"adata.uns[{key!r}] holds no energy R, which only the scalar interaction reports; draw by='slope'."
        raise KeyError(msg)
    table = table.sort_values("R", kind="stable")
    ax = axes(ax, figsize=(5.0, _FRAME + _ROW * len(table)))
    rows = np.arange(len(table))
    for seen in (False, True):
        used = table["seen"].to_numpy(dtype=bool) == seen
        if used.any():
            _points(ax, table[used], "R", rows[used], seen=seen)
    ax.set_yticks(rows, [str(line) for line in table["cell_line"]])
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(_LABELS["R"])
    _legend(ax, table)
    return ax


def _points(ax: Axes, rows: pd.DataFrame, x: str, at: object, *, seen: bool, y: str | None = None) -> None:
    """Points with their ranges; the range in y only where y is a quantity."""
    position = np.asarray(at, dtype=float)
    ax.hlines(position, rows[f"{x}_low"], rows[f"{x}_high"], color=BACKGROUND, lw=1.2, zorder=1)
    if y is not None:
        ax.vlines(rows[x], rows[f"{y}_low"], rows[f"{y}_high"], color=BACKGROUND, lw=1.2, zorder=1)
    color = OKABE_ITO["blue" if seen else "vermillion"]
    label = "seen in training" if seen else "unseen"
    fill = color if seen else "white"
    ax.plot(rows[x], position, "o", ms=6, color=color, mfc=fill, mew=1.2, label=label, zorder=2)


def _legend(ax: Axes, table: pd.DataFrame) -> None:
    if not table["seen"].all():
        ax.legend(frameon=False, fontsize="small", loc="best")
