"""Plot of the genes that a readout hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._effect_bars import bar_legend, effect_bars
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, axes, finish
from scwhatif.tl._cell_groups import ALL_CELLS
from scwhatif.tl._storm_settings import in_mudata

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

_LABELS = {
    ("ko", "gene"): "change of {} by knockout",
    ("jacobian", "gene"): "change of {} per log1p of counts",
    ("integrated_gradients", "gene"): "share of {} above an empty cell",
    ("expected_gradients", "gene"): "share of {} above other cells",
    ("difference", "driver"): "change of {} by the driver",
    ("integrated_gradients", "driver"): "share of {} above no driver",
}


def master_regulators(
    adata: AnnData | MuData,
    *,
    key: str = Key.uns.MASTER_REGULATORS,
    method: str | None = None,
    group: str | None = None,
    n_top: int = 15,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the genes or drivers with the largest effects on the target as bars, the largest on top.

    Bars of those at a false discovery rate below 5 % are coloured, to the right where they raise the readout and to the
    left where they lower it; others are grey. The pale band behind each bar is what genes like it do: two standard
    deviations to either side. Whiskers are the interval over donors, where these were told apart. Of drivers, the names
    of masters are bold, and whiskers are the interval over models.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.master_regulators`.
    key
        Its ``key_added``.
    method
        One of its methods; ``None`` is the first.
    group
        One of the groups of its ``groupby``; ``None`` is all cells. Not for drivers.
    n_top
        How many to draw.
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
        The effects were not computed under this key, or not by this method or for this group.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 60, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> wi.tl.master_regulators(adata, model, "z0", progress=False)
    >>> ax = wi.pl.master_regulators(adata, n_top=5, show=False)
    >>> len(ax.get_yticklabels())
    5
    """
    if in_mudata(adata):
        call, parts = "scwhatif.tl.master_regulators(mdata, model, 'storm'", {}
        if group is not None:
            msg = f"group={group!r}: drivers have no groups; leave it out."
            raise KeyError(msg)
    else:
        call, parts = "scwhatif.tl.master_regulators(adata, model, target", {"group": group or ALL_CELLS}
    result = stored(adata, key, "agreement", "master regulators", call)
    method = str(result["table"]["method"].cat.categories[0]) if method is None else method
    table = stored_rows(adata, key, "table", method=method, **parts)
    drawn = table[table["effect"].notna()].head(n_top)
    label, interval = ("driver", "95 % interval") if "driver" in drawn else ("gene", "95 % over donors")
    ax = axes(ax, figsize=(4.5, 0.24 * len(drawn) + 1.1))
    if label == "gene" and (known := drawn["null_sd"].notna().to_numpy()).any():
        sd, places = drawn["null_sd"].to_numpy()[known], np.flatnonzero(known)
        ax.barh(places, 4 * sd, left=-2 * sd, height=0.9, color=BACKGROUND, alpha=0.35, lw=0, label="genes like it")
    effect_bars(ax, drawn, label, interval=interval)
    if label == "driver":
        for text, master in zip(ax.get_yticklabels(), drawn["master"], strict=True):
            text.set_fontweight("bold" if master else "normal")
    ax.set_xlabel(_LABELS[method, label].format(result[Key.uns.PARAMS]["target_name"]))
    if group is not None:
        ax.set_title(group, loc="left", fontsize="medium")
    finish(ax, show)
    bar_legend(ax)
    return ax
