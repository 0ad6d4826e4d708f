"""Plot of what genes do before and after others are inhibited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._effect_bars import bar_legend, effect_bars
from scwhatif.pl._label_points import label_points
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish, short_name
from scwhatif.tl._cell_groups import ALL_CELLS
from scwhatif.tl._storm_settings import in_mudata

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

_FDR = 0.05


def resistance_drivers(
    adata: AnnData | MuData,
    *,
    key: str = Key.uns.RESISTANCE_DRIVERS,
    group: str | None = None,
    n_top: int = 10,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw how far each gene's knockout takes cells towards the reference, or the share of each driver in the way.

    Knockouts are drawn alone against after the inhibition. Genes on the dotted line do the same either way. One below
    it does more after: a backup. Those whose synergy has a false discovery rate below 5 % are coloured. Whiskers are
    the interval over donors, where these were told apart. Shares of drivers are bars with their interval over models,
    the largest on top, coloured at a false discovery rate below 5 %.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.resistance_drivers`.
    key
        Its ``key_added``.
    group
        One of the groups of its ``groupby``; ``None`` is all cells. Not for drivers.
    n_top
        How many genes to name: those that bring cells closest after the inhibition; or how many drivers to draw.
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
        The changes were not computed under this key, or not for this group.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 60, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> reference = ("cell_type", "type_0")
    >>> wi.tl.resistance_drivers(adata, model, "gene_0", reference=reference, progress=False)
    >>> ax = wi.pl.resistance_drivers(adata, n_top=3, show=False)
    >>> len(ax.texts)
    3
    """
    if in_mudata(adata):
        return finish(_draw_drivers(adata, key, group, n_top, ax), show)
    call = "scwhatif.tl.resistance_drivers(adata, model, inhibited, reference=…"
    made = stored(adata, key, "coalitions", "resistance drivers", call)[Key.uns.PARAMS]
    table = stored_rows(adata, key, "table", group=ALL_CELLS if group is None else group)
    drawn = table[table["after"].notna()]
    named = drawn.head(n_top)
    significant = (drawn["synergy_padj"] < _FDR).to_numpy()

    ax = axes(ax)
    values = drawn[["single", "after"]].to_numpy()
    ends = [float(np.min(values[:, 0], initial=0)), float(np.max(values[:, 0], initial=0))]
    ax.plot(ends, ends, color=TEXT, lw=0.8, ls=":", label="the same either way")
    if "low" in named:
        ax.vlines(named["single"], named["low"], named["high"], color=BACKGROUND, lw=1)
    ax.scatter(values[~significant, 0], values[~significant, 1], s=7, color=BACKGROUND, lw=0, label="gene")
    if significant.any():
        ax.scatter(
            values[significant, 0],
            values[significant, 1],
            s=16,
            color=OKABE_ITO["vermillion"],
            lw=0,
            label=f"gene, synergy FDR < {_FDR:.0%}",
            zorder=3,
        )
    ax.margins(0.08)
    ax.locator_params(nbins=5)
    ax.set(xlabel="change of distance, gene alone", ylabel="change of distance, after inhibition")
    where = f"{short_name(made['inhibited'])} → {made['reference_name']}"
    ax.set_title(where if group is None else f"{group}: {where}", loc="left", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", handletextpad=0.4, borderaxespad=0)
    label_points(ax, named["single"], named["after"], list(named["gene"].astype(str)), color=TEXT, avoid=values)
    return finish(ax, show)


def _draw_drivers(mdata: MuData, key: str, group: str | None, n_top: int, ax: Axes | None) -> Axes:
    call = "scwhatif.tl.resistance_drivers(mdata, model, reference=…"
    result = stored(mdata, key, "distance", "resistance drivers", call)
    if group is not None:
        msg = f"group={group!r}: drivers have no groups; leave it out."
        raise KeyError(msg)
    table = result["table"]
    ax = effect_bars(ax, table[table["effect"].notna()].head(n_top), "driver", interval="95 % interval")
    ax.set_xlabel(f"share of distance from {result[Key.uns.PARAMS]['reference_name']}")
    bar_legend(ax)
    return ax
