"""Plot of what hidden layers can be told from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import OKABE_ITO, TEXT, finish, panels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from mudata import MuData

_LABELS = {
    "all": "all other layers",
    "covariates": "covariates alone",
    "beyond_covariates": "of what covariates leave",
    "parent": "parent protein alone",
    "beyond_parent": "of what the parent leaves",
}
_COLORS = {
    "all": OKABE_ITO["blue"],
    "covariates": OKABE_ITO["yellow"],
    "beyond_covariates": OKABE_ITO["sky"],
    "parent": OKABE_ITO["orange"],
    "beyond_parent": OKABE_ITO["vermillion"],
}
_WIDTH = 0.8
_DARK = 0.6


def ptm_dependency(
    mdata: MuData,
    *,
    key: str = Key.uns.PTM_DEPENDENCY,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
) -> list[Axes]:
    """Draw how far each hidden layer can be told from every other one, and from all together.

    Left, R² from every layer alone, and below it in brackets what is lost without it. Right, bars with intervals: R²
    from all others, from the covariates and the parent proteins alone, and R² of what these leave. Bars that are not
    distinguishable from samples that changed places (5 % false discoveries) are pale.

    Parameters
    ----------
    mdata
        After :func:`scwhatif.tl.ptm_dependency`.
    key
        Its ``key_added``.
    ax
        Two axes to draw into; ``None`` makes a figure.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive.

    Returns
    -------
    Axes of the matrix and of the bars.

    Raises
    ------
    KeyError
        The dependencies were not computed under this key.
    ValueError
        There are fewer or more axes than two.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(60, n_rna=30, n_protein=20, n_ptm=(5, 8, 10), n_metabolites=6)
    >>> wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", protein="protein", ptm=["ptm_0", "ptm_1"])
    >>> model = wi.model.MultiOmicLPM(mdata, n_latent=4)
    >>> model.train(2, external_indexing=[range(40), [], range(40, 60)], enable_progress_bar=False)
    >>> wi.tl.ptm_dependency(mdata, [model], n_permutations=20)
    >>> matrix, bars = wi.pl.ptm_dependency(mdata, show=False)
    >>> [label.get_text() for label in matrix.get_xticklabels()]
    ['drivers', 'rna', 'protein', 'ptm_0', 'ptm_1']
    """
    result = stored(mdata, key, "sources", "dependencies", "scwhatif.tl.ptm_dependency(mdata, model")
    layers = [str(name) for name in result["layers"]["layer"].cat.categories]
    made = panels(ax, 2, "panels", per_row=2, size=(4.4, 0.5 * len(layers) + 2.2))
    _matrix(made[0], result["sources"], layers)
    _bars(made[1], result["layers"], layers)
    finish(made[0], show=False)
    made[0].spines[:].set_visible(False)
    finish(made[1], show)
    made[1].spines["left"].set_visible(False)
    return made


def _matrix(ax: Axes, sources: pd.DataFrame, layers: list[str]) -> None:
    names = [str(name) for name in sources["source"].cat.categories]
    alone, unique = (
        sources[sources["measure"] == measure]
        .pivot_table(index="layer", columns="source", values="effect", observed=False)
        .reindex(index=layers, columns=names)
        .to_numpy()
        for measure in ("alone", "unique")
    )
    ax.pcolormesh(alone, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    # + 0 because a rounded -0.001 is a negative zero
    alone, unique = np.round(alone, 2) + 0.0, np.round(unique, 2) + 0.0
    for row, column in np.argwhere(np.isfinite(alone)):
        ax.text(
            column + 0.5,
            row + 0.5,
            f"{alone[row, column]:.2f}\n({unique[row, column]:.2f})",
            ha="center",
            va="center",
            fontsize="x-small",
            color="white" if alone[row, column] > _DARK else TEXT,
        )
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=45, ha="right", rotation_mode="anchor", fontsize="small")
    ax.set_yticks(np.arange(len(layers)) + 0.5, layers, fontsize="small")
    ax.tick_params(length=0)
    ax.invert_yaxis()
    ax.set_title("R² from one layer (lost without it)", loc="left", fontsize="medium")


def _bars(ax: Axes, table: pd.DataFrame, layers: list[str]) -> None:
    measures = [name for name in _LABELS if (table["measure"] == name).any()]
    height = _WIDTH / len(measures)
    for i, measure in enumerate(measures):
        part = table[table["measure"] == measure]
        places = part["layer"].cat.codes.to_numpy() + (i + 0.5) * height - _WIDTH / 2
        effect = part["effect"].to_numpy()
        # what was not tested, as the floor, is not pale
        pale = (part["padj"] >= 0.05).to_numpy()
        bars = ax.barh(places, effect, height=0.9 * height, color=_COLORS[measure], lw=0, label=_LABELS[measure])
        for bar, is_pale in zip(bars, pale, strict=True):
            bar.set_alpha(0.35 if is_pale else 1.0)
        ax.hlines(places, part["low"], part["high"], color=TEXT, lw=1)
    ax.axvline(0, color=TEXT, lw=0.8)
    ax.set_yticks(np.arange(len(layers)), layers, fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.set_xlim(right=min(1.0, ax.get_xlim()[1]))
    ax.set_xlabel("R² in samples held out", fontsize="small")
    ax.legend(
        frameon=False, fontsize="x-small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0
    )
