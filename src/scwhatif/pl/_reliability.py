"""Plot of whether probabilities of pairs come true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, axes, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def reliability(
    adata: AnnData,
    method: str | None = None,
    *,
    key: str = Key.uns.CROSS_CONTEXT_VALIDATE,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the share of interacting pairs against the probability that a method gave them, a curve per held-out line.

    On the dotted line probabilities come true; below it they are too high.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.cross_context_validate`.
    method
        The model or a baseline; ``None`` takes the last, which is the model if there was one.
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
        The validation was not run under this key, or without this method.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(2, 3, 15)
    >>> wi.tl.cross_context_validate(adata, n_chrom_folds=3, baselines=["prevalence", "logistic"])
    >>> ax = wi.pl.reliability(adata, show=False)
    >>> ax.get_title()
    'logistic'
    """
    result = stored(
        adata, key, "reliability", "validation across cell lines", "scwhatif.tl.cross_context_validate(adata"
    )
    chosen = str(result["reliability"]["method"].cat.categories[-1]) if method is None else method
    bins = stored_rows(adata, key, "reliability", method=chosen)
    ax = axes(ax, figsize=(4.2, 3.9))
    end = 1.05 * float(max(bins["predicted"].max(), bins["observed"].max()))
    ax.plot([0, end], [0, end], ":", color=BACKGROUND, lw=1.2, zorder=1)
    lines = list(bins["cell_line"].cat.categories)
    colors = dict(zip(lines, np.resize(list(OKABE_ITO.values()), len(lines)), strict=True))
    for line, of_line in bins.groupby("cell_line", observed=True):
        ax.plot(of_line["predicted"], of_line["observed"], "o-", ms=4, lw=1.2, color=colors[line], label=line, zorder=2)
    ax.set(xlim=(0, end), ylim=(0, end), aspect="equal", title=chosen)
    ax.set_xlabel("predicted probability")
    ax.set_ylabel("share that interacts")
    ax.legend(title="held out", frameon=False, fontsize="small", loc="upper left")
    return finish(ax, show)
