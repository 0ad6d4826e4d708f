"""Plot of effect against evidence of a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._label_points import label_points
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish, short_name
from scwhatif.tl._cell_groups import ALL_CELLS

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_FDR = 0.05
# What stands for a p-value of 0.
_LEAST_P = 1e-300


def volcano(
    adata: AnnData,
    *,
    key: str = Key.uns.KNOCKOUT,
    group: str | None = None,
    donors: bool = False,
    n_top: int = 15,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw how far above expectation each perturbation moves the latent code, against the evidence for it.

    Right of the middle are those that move cells further than what they are compared with, matched genes or random
    stand-ins. Those at a false discovery rate below 5 % are coloured, and the ones with the smallest p-values named.
    Perturbations that were not compared have no place here.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.knockout` or :func:`scwhatif.tl.screen`.
    key
        Its ``key_added``.
    group
        One of the groups of its ``groupby``; ``None`` is all cells.
    donors
        Take the p-values over donors, where the screen was run with ``donor``.
    n_top
        How many to name.
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
        There is no screen under this key, no such group, or no test over donors.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.pbmc68k()
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=5, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> wi.tl.knockout(adata, model, progress=False)
    >>> len(wi.pl.volcano(adata, n_top=10, show=False).texts)
    10
    """
    from matplotlib.ticker import MaxNLocator

    stored(adata, key, "by_group", "screen", "scwhatif.tl.knockout(adata, model")
    table = stored_rows(adata, key, "by_group", group=ALL_CELLS if group is None else group)
    pval, padj = ("pval_donor", "padj_donor") if donors else ("pval", "padj")
    if pval not in table:
        msg = f"adata.uns[{key!r}] was run without donors; run it with donor= the column of obs that holds them."
        raise KeyError(msg)
    drawn = table[np.isfinite(table["score_residual"]) & np.isfinite(table[pval])]
    drawn = drawn.iloc[np.lexsort((-drawn["score_residual"].to_numpy(), drawn[pval].to_numpy()))]
    what = "gene" if "gene" in drawn else "perturbation"
    x, y = drawn["score_residual"].to_numpy(), -np.log10(np.maximum(drawn[pval].to_numpy(), _LEAST_P))
    significant = (drawn[padj] < _FDR).to_numpy()

    ax = axes(ax)
    ax.axvline(0, color=BACKGROUND, lw=0.8, zorder=0)
    ax.scatter(x[~significant], y[~significant], s=7, color=BACKGROUND, lw=0, alpha=0.8, label=what)
    if significant.any():
        ax.scatter(
            x[significant],
            y[significant],
            s=16,
            color=OKABE_ITO["vermillion"],
            lw=0,
            label=f"{what}, FDR < {_FDR:.0%}",
            zorder=3,
        )
        # points of a single kind need none, and it would lie among them
        ax.legend(frameon=False, fontsize="small", handletextpad=0.2, borderaxespad=0)
    ax.margins(0.08, 0.08)
    ax.set_ylim(bottom=0)
    over = " over donors" if donors else ""
    ax.set(xlabel="log2 of latent shift over expected", ylabel=f"−log10 p-value{over}")
    if group is not None:
        ax.set_title(group, fontsize="medium", loc="left")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    named = [short_name(name) for name in drawn[what].astype(str).head(n_top)]
    label_points(ax, x[: len(named)], y[: len(named)], named, color=TEXT)
    return finish(ax, show)
