"""Plot of the genes that a readout hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish
from scwhatif.tl._cell_groups import ALL_CELLS

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_FDR = 0.05
_LABELS = {
    "ko": "change of {} by knockout",
    "jacobian": "change of {} per log1p of counts",
    "integrated_gradients": "share of {} above an empty cell",
    "expected_gradients": "share of {} above other cells",
}


def master_regulators(
    adata: AnnData,
    *,
    key: str = Key.uns.MASTER_REGULATORS,
    method: str | None = None,
    group: str | None = None,
    n_top: int = 15,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the genes with the largest effects on the target as bars, the largest on top.

    Bars of genes at a false discovery rate below 5 % are coloured, to the right where they raise the readout and to the
    left where they lower it; others are grey. The pale band behind each bar is what genes like it do: two standard
    deviations to either side. Whiskers are the interval over donors, where these were told apart.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.master_regulators`.
    key
        Its ``key_added``.
    method
        One of its methods; ``None`` is the first.
    group
        One of the groups of its ``groupby``; ``None`` is all cells.
    n_top
        How many genes to draw.
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
    call = "scwhatif.tl.master_regulators(adata, model, target"
    result = stored(adata, key, "agreement", "master regulators", call)
    method = str(result["table"]["method"].cat.categories[0]) if method is None else method
    table = stored_rows(adata, key, "table", method=method, group=ALL_CELLS if group is None else group)
    drawn = table[table["effect"].notna()].head(n_top)
    places = np.arange(len(drawn))
    effect = drawn["effect"].to_numpy()
    significant = (drawn["padj"] < _FDR).to_numpy()
    color = np.where(significant, np.where(effect > 0, OKABE_ITO["vermillion"], OKABE_ITO["blue"]), BACKGROUND)

    ax = axes(ax, figsize=(4.5, 0.24 * len(drawn) + 1.1))
    known = drawn["null_sd"].notna().to_numpy()
    if known.any():
        sd = drawn["null_sd"].to_numpy()[known]
        ax.barh(
            places[known], 4 * sd, left=-2 * sd, height=0.9, color=BACKGROUND, alpha=0.35, lw=0, label="genes like it"
        )
    ax.barh(places, effect, height=0.55, color=color, lw=0)
    if "low" in drawn:
        low, high = drawn["low"].to_numpy(), drawn["high"].to_numpy()
        ax.hlines(places, low, high, color=TEXT, lw=1, label="95 % over donors")
    ax.axvline(0, color=TEXT, lw=0.8)
    ax.set_yticks(places, list(drawn["gene"].astype(str)))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel(_LABELS[method].format(result[Key.uns.PARAMS]["target_name"]))
    if group is not None:
        ax.set_title(group, loc="left", fontsize="medium")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0
        )
    finish(ax, show)
    ax.spines["left"].set_visible(False)
    return ax
