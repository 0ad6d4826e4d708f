"""Plot of retrieval beside its floors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def rank_retrieval(
    adata: AnnData, *, key: str = Key.uns.RANK_RETRIEVAL, ax: Axes | None = None, show: bool | None = None
) -> Axes:
    """Draw the mean average precision of the embedding and of its floors.

    A bar is the 95 % interval over identities, a point the mean; the dotted line is a random order. The number on the
    right is Rank@k for the smallest *k*.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.rank_retrieval`.
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
        Retrieval was not computed under this key.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 40, 4, n_cell_types=3, n_batches=2, seed=0)
    >>> wi.tl.rank_retrieval(adata, identity_key="cell_type", use_rep="true_factors", n_permutations=0)
    >>> ax = wi.pl.rank_retrieval(adata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['true_factors', 'pca']
    """
    call = "scwhatif.tl.rank_retrieval(adata, identity_key=…"
    result = stored(adata, key, "identities", "retrieval", call)
    summary = result["summary"]
    drawn = summary[summary["kind"] != "chance"]
    chance = float(summary.loc[summary["kind"] == "chance", "map"].iloc[0])
    first = next(name for name in summary.columns if name.startswith("rank@"))
    ax = axes(ax, figsize=(5.0, 0.45 * len(drawn) + 1.4))
    for place, row in enumerate(drawn.to_dict("records")):
        color = OKABE_ITO["blue"] if row["kind"] == "embedding" else BACKGROUND
        ax.plot([row["low"], row["high"]], [place, place], color=color, lw=5, solid_capstyle="butt")
        ax.plot(row["map"], place, marker="o", ms=6, color=color, mec=TEXT, mew=0.8)
        ax.annotate(
            f"{row[first]:.2f}",
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=TEXT,
        )
    ax.annotate(
        f"Rank@{first.removeprefix('rank@')}",
        (1, 1),
        xycoords="axes fraction",
        xytext=(6, 3),
        textcoords="offset points",
        fontsize="small",
        color=TEXT,
    )
    ax.axvline(chance, color=TEXT, lw=1, ls=":")
    ax.set_yticks(np.arange(len(drawn)), list(drawn["rep"]))
    ax.set_ylim(len(drawn) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel("mean average precision")
    counts = result["counts"]
    ax.set_title(
        f"{int(counts['n_queries'])} queries of {int(counts['n_identities'])} identities, "
        f"{float(counts['gallery']):.0f} cells ranked, {int(counts['n_orphans'])} orphans",
        loc="left",
        fontsize="small",
    )
    return finish(ax, show)
