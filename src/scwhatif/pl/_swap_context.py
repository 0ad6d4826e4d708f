"""Plot of pairs in the environments of other cell lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import TEXT, axes, color_bar, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_LABELS = {
    "change": "mean change of the probability",
    "log_odds_change": "mean change of the log-odds",
    "n_on": "pairs switched on",
    "n_off": "pairs switched off",
}
_CALL = "scwhatif.tl.swap_context(adata, model"
# Inches of a cell and of a letter, and the longest name that is written level.
_WIDTH, _HEIGHT, _LETTER, _LEVEL = 0.95, 0.55, 0.07, 8
# Share of the colour scale from which text is white.
_DARK = 0.6


def swap_context(
    adata: AnnData,
    score: Literal["change", "log_odds_change", "n_on", "n_off"] = "change",
    *,
    key: str = Key.uns.SWAP_CONTEXT,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw what the environment of another line does to the pairs of a line.

    Each row is the line that the pairs are of, each column the line whose environment they are put into.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.swap_context`.
    score
        What a cell shows: mean ``"change"`` of the probability, with its 95 % range over draws of the support sets,
        ``"log_odds_change"``, or the number of pairs switched on (``"n_on"``) or off (``"n_off"``).
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
        Contexts were not swapped under this key.
    ValueError
        ``score`` is unknown.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 4, 10)
    >>> wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    >>> model = wi.model.CellLineEnergyModel(adata, trees_weight=0.0, n_hidden=16)
    >>> model.train(max_epochs=3, enable_progress_bar=False)
    >>> wi.tl.swap_context(adata, model, n_support=64)
    >>> ax = wi.pl.swap_context(adata, show=False)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['line_0', 'line_1', 'line_2']
    """
    if score not in _LABELS:
        msg = f"score={score!r} is not one of {list(_LABELS)}."
        raise ValueError(msg)
    table = stored(adata, key, "pairs", "pairs in other contexts", _CALL)["table"]
    rows, columns = (list(table[name].cat.categories) for name in ("from", "to"))
    longest = max(map(len, [*rows, *columns]))
    turned = longest > _LEVEL
    margin = _LETTER * longest
    size = (_WIDTH * len(columns) + 1.7 + margin, _HEIGHT * len(rows) + (0.6 + margin if turned else 0.9))
    ax = axes(ax, figsize=size)
    values = table.pivot(index="from", columns="to", values=score).loc[rows, columns].to_numpy(dtype=float)
    signed = score in ("change", "log_odds_change")
    limit = max(float(np.abs(values).max()), 1e-12)
    image = ax.pcolormesh(
        values,
        cmap="RdBu_r" if signed else "Blues",
        vmin=-limit if signed else 0,
        vmax=limit,
        edgecolors="white",
        linewidth=1,
    )
    for row in table.to_dict("records"):
        x, y = columns.index(row["to"]) + 0.5, rows.index(row["from"]) + 0.5
        color = "white" if abs(row[score]) > _DARK * limit else TEXT
        if not signed:
            ax.text(x, y, f"{row[score]}", ha="center", va="center", color=color)
        elif row["from"] == row["to"]:
            ax.text(x, y, "0", ha="center", va="center", color=color)
        else:
            ranged = score == "change"
            ax.text(x, y, f"{row[score]:+.3f}", ha="center", va="bottom" if ranged else "center", color=color)
            if ranged:
                text = f"{row['change_low']:+.3f} to {row['change_high']:+.3f}"
                ax.text(x, y, text, ha="center", va="top", fontsize="xx-small", color=color)
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, **turn)
    ax.set_yticks(np.arange(len(rows)) + 0.5, rows)
    ax.set_xlabel("in the environment of")
    ax.set_ylabel("pairs of")
    ax.tick_params(length=0)
    ax.invert_yaxis()
    color_bar(ax, image, _LABELS[score])
    ax.spines[:].set_visible(False)
    return finish(ax, show)
