"""Plot of a knockout screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._label_points import label_points
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish, plain_log
from scwhatif.tl._cell_groups import ALL_CELLS

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_FDR = 0.05


def knockout(
    adata: AnnData,
    *,
    key: str = Key.uns.KNOCKOUT,
    group: str | None = None,
    n_top: int = 15,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw how far each gene's knockout moves the latent code, against its mean expression.

    Grey genes move cells no further than genes like them do; genes at a false discovery rate below 5 % are coloured.
    The genes that stand out most are named, and a stem leads from each to the score expected of it (a dash). Genes
    that were not tested, that have no effect at all, or whose mean is not positive have no place on these axes.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.knockout`.
    key
        Its ``key_added``.
    group
        One of the groups of its ``groupby``; ``None`` is all cells.
    n_top
        How many genes to name: those with the smallest p-values, or, without p-values, the highest scores.
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
        The screen was not run under this key, or has no such group.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.pbmc68k()
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=5, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> wi.tl.knockout(adata, model, progress=False)
    >>> ax = wi.pl.knockout(adata, n_top=10, show=False)
    >>> len(ax.texts)
    10
    """
    result = stored(adata, key, "by_group", "knockout screen", "scwhatif.tl.knockout(adata, model")
    table = stored_rows(adata, key, "by_group", group=ALL_CELLS if group is None else group)
    op = result[Key.uns.PARAMS]["op"]
    done = "knockout" if op == "ko" else op
    drawn = table[(table["score"] > 0) & (table["mean_expression"] > 0)]
    order = np.lexsort((-drawn["score"].to_numpy(), drawn["pval"].to_numpy()))
    drawn = drawn.iloc[order]
    named = drawn.head(n_top)
    significant = drawn[drawn["padj"] < _FDR]
    rest = drawn[~(drawn["padj"] < _FDR)]

    ax = axes(ax)
    ax.scatter(rest["mean_expression"], rest["score"], s=7, color=BACKGROUND, lw=0, alpha=0.8, label="gene")
    _draw_expected(ax, named)
    if len(significant):
        ax.scatter(
            significant["mean_expression"],
            significant["score"],
            s=16,
            color=OKABE_ITO["vermillion"],
            lw=0,
            label=f"gene, FDR < {_FDR:.0%}",
            zorder=3,
        )
    plain = named[~(named["padj"] < _FDR)]
    ax.scatter(plain["mean_expression"], plain["score"], s=9, color=TEXT, lw=0, zorder=3)
    ax.margins(0.05, 0.08)
    plain_log(ax, x=True, y=True)
    ax.set(xlabel="mean expression per cell", ylabel=f"latent shift by {done} (posterior s.d.)")
    if group is not None:
        ax.set_title(group, fontsize="medium", loc="left")
    ax.legend(frameon=False, fontsize="small", handletextpad=0.2, borderaxespad=0)
    label_points(
        ax,
        named["mean_expression"],
        named["score"],
        list(named["gene"].astype(str)),
        color=TEXT,
        avoid=_along_stems(named),
    )
    return finish(ax, show)


def _draw_expected(ax: Axes, named: pd.DataFrame) -> None:
    """Stems from the expected to the observed score of the named genes, where there is an expectation."""
    named = named[named["score_expected"].notna()]
    if not len(named):
        return
    color = OKABE_ITO["blue"]
    ax.vlines(named["mean_expression"], named["score_expected"], named["score"], color=color, lw=0.6, alpha=0.7)
    ax.scatter(
        named["mean_expression"],
        named["score_expected"],
        marker="_",
        s=30,
        lw=1.2,
        color=color,
        label="expected from matched genes",
        zorder=2,
    )


def _along_stems(named: pd.DataFrame) -> NDArray[np.float64]:
    """A few positions on each stem, which labels should leave free."""
    stems = named[named["score_expected"].notna()]
    steps = np.linspace(0, 1, 10)
    heights = np.exp(
        np.log(stems["score"].to_numpy())[:, None] * (1 - steps)
        + np.log(stems["score_expected"].to_numpy())[:, None] * steps
    )
    return np.column_stack([np.repeat(stems["mean_expression"].to_numpy(), len(steps)), heights.ravel()])
