"""Plot of which layer leads the metabolites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, finish, panels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from mudata import MuData

_LABELS = {
    "lead": "alone",
    "shapley": "Shapley share",
    "unique": "unique",
    "drivers_add": "drivers add",
}
_COLORS = {
    "lead": OKABE_ITO["blue"],
    "shapley": OKABE_ITO["green"],
    "unique": OKABE_ITO["vermillion"],
    "drivers_add": OKABE_ITO["yellow"],
}
_WIDTH = 0.8


def storm_leader(
    mdata: MuData,
    *,
    key: str = Key.uns.STORM_LEADER,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
) -> list[Axes]:
    """Draw each layer against random sets of features of its size, and what it is worth among the others.

    Left, a grey line for every random set and a diamond for the layer, both read by the same ridge regression; the
    percentile stands beside it. Right, bars with intervals: R² of the layer alone, its Shapley share, what is lost
    without it, and what drivers add to it. The leader, if there is one, is bold.

    Parameters
    ----------
    mdata
        After :func:`scwhatif.tl.storm_leader`.
    key
        Its ``key_added``.
    ax
        Two axes to draw into; ``None`` makes a figure.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive.

    Returns
    -------
    Axes of the random sets and of the bars.

    Raises
    ------
    KeyError
        No leader was looked for under this key.
    ValueError
        There are fewer or more axes than two.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(80, n_rna=30, n_protein=20, n_ptm=(5, 8, 10), n_metabolites=6)
    >>> wi.model.MultiOmicLPM.setup_mudata(
    ...     mdata, rna="rna", protein="protein", ptm=["ptm_0", "ptm_1"], metabolome="metabolome"
    ... )
    >>> model = wi.model.MultiOmicLPM(mdata, n_latent=4)
    >>> model.train(2, external_indexing=[range(50), [], range(50, 80)], enable_progress_bar=False)
    >>> wi.tl.storm_leader(mdata, [model], n_sets=40, n_permutations=20)
    >>> sets, bars = wi.pl.storm_leader(mdata, show=False)
    >>> [label.get_text() for label in sets.get_yticklabels()]
    ['ptm_0 (5)', 'ptm_1 (8)']
    """
    result = stored(mdata, key, "sets", "leader", "scwhatif.tl.storm_leader(mdata, model")
    table = result["layers"]
    made = panels(ax, 2, "panels", per_row=2, size=(4.2, 0.55 * len(table) + 1.6))
    _sets(made[0], table, result["sets"])
    _bars(made[1], table, result["measures"])
    target = str(result[Key.uns.PARAMS]["target"])
    made[0].set_title(f"{target}: {result['leader']}", loc="left", fontsize="medium", pad=20)
    for panel in made:
        _name_layers(panel, table)
    finish(made[0], show=False)
    finish(made[1], show)
    for panel in made:
        panel.spines["left"].set_visible(False)
    return made


def _sets(ax: Axes, table: pd.DataFrame, sets: pd.DataFrame) -> None:
    places = sets["layer"].cat.codes.to_numpy()
    ax.vlines(sets["set"], places - 0.3, places + 0.3, color=BACKGROUND, lw=0.8, alpha=0.7, label="random sets")
    for place, (reader, percentile, leads) in enumerate(
        table[["reader", "percentile", "leader"]].itertuples(index=False)
    ):
        color = OKABE_ITO["vermillion"] if leads else OKABE_ITO["blue"]
        ax.plot(reader, place, ls="", marker="D", ms=6, color=color, label="layer" if place == 0 else None)
        ax.annotate(
            f"{percentile:.0f} %",
            (reader, place - 0.3),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize="x-small",
            color=TEXT,
        )
    ax.set_xlabel("R² of sets of one size, by ridge", fontsize="small")
    ax.margins(x=0.08)
    ax.legend(frameon=False, fontsize="x-small", loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0)


def _bars(ax: Axes, table: pd.DataFrame, measures: pd.DataFrame) -> None:
    drawn = [name for name in _LABELS if (measures["measure"] == name).any()]
    height = _WIDTH / len(drawn)
    for i, measure in enumerate(drawn):
        part = measures[measures["measure"] == measure]
        places = part["layer"].cat.codes.to_numpy() + (i + 0.5) * height - _WIDTH / 2
        ax.barh(places, part["effect"], height=0.9 * height, color=_COLORS[measure], lw=0, label=_LABELS[measure])
        ax.hlines(places, part["low"], part["high"], color=TEXT, lw=1)
    ax.axvline(0, color=TEXT, lw=0.8)
    ax.set_xlabel("R² in samples held out", fontsize="small")
    ax.legend(
        frameon=False, fontsize="x-small", loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(drawn), borderaxespad=0
    )


def _name_layers(ax: Axes, table: pd.DataFrame) -> None:
    names = [f"{name} ({n})" for name, n in zip(table["layer"], table["n_features"], strict=True)]
    ax.set_yticks(np.arange(len(table)), names, fontsize="small")
    for label, leads in zip(ax.get_yticklabels(), table["leader"], strict=True):
        label.set_fontweight("bold" if leads else "normal")
    ax.set_ylim(len(table) - 0.45, -0.65)
    ax.tick_params(axis="y", length=0)
