"""Plot of distances within groups and to the nearest group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish, short_name

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def cluster_geometry(
    adata: AnnData, *, key: str = Key.uns.CLUSTER_GEOMETRY, ax: Axes | None = None, show: bool | None = None
) -> Axes:
    """Draw for every group the mean squared distance within it beside that to the group nearest to it.

    Groups are sorted by the difference, those that stand apart least at the bottom; where the points change places,
    cells are nearer to another group than to their own, and its name on the right is red. The title says the ratio of
    distances over all pairs, beside that of shuffled groups.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.cluster_geometry`.
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
        Distances were not measured under this key.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 30, 4, n_cell_types=3, seed=0)
    >>> wi.tl.cluster_geometry(adata, groupby="cell_type", use_rep="true_factors", n_shuffles=3)
    >>> ax = wi.pl.cluster_geometry(adata, show=False)
    >>> ax.get_xlabel(), len(ax.get_yticklabels())
    ('mean squared distance', 3)
    """
    result = stored(adata, key, "groups", "distances of groups", "scwhatif.tl.cluster_geometry(adata, groupby=…")
    groups, scores = result["groups"], result["scores"].set_index("score")
    # a group of a single cell has no distance within, and comes last
    order = (groups["inter"] - groups["intra"]).sort_values(na_position="first", kind="stable").index
    groups = groups.loc[order]
    places = np.arange(len(groups))
    ax = axes(ax, figsize=(5.2, max(1.8, 0.26 * len(groups) + 1.2)))
    ax.hlines(places, groups["intra"], groups["inter"], color=BACKGROUND, lw=1.5, zorder=1)
    for name, color, label in (("intra", "blue", "within the group"), ("inter", "orange", "to the nearest group")):
        ax.scatter(groups[name], places, color=OKABE_ITO[color], s=26, lw=0, label=label, zorder=2)
    ax.set_yticks(places, [short_name(str(group)) for group in groups["group"]])
    ax.annotate(
        "nearest",
        (1, 1),
        xycoords="axes fraction",
        xytext=(4, 4),
        textcoords="offset points",
        fontsize="small",
    )
    for place, nearest in zip(places, groups["nearest"], strict=True):
        ax.annotate(
            short_name(str(nearest)),
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=OKABE_ITO["vermillion"] if groups["inter"].iloc[place] < groups["intra"].iloc[place] else TEXT,
        )
    ax.set_ylim(-0.6, len(groups) - 0.4)
    ax.set_xlabel("mean squared distance")
    ax.set_ylabel(str(result[Key.uns.PARAMS]["groupby"]))
    ratio, shuffled = scores.loc["ratio", "value"], scores.loc["ratio", "shuffled"]
    beside = "" if np.isnan(shuffled) else f" (shuffled {shuffled:.2f})"
    ax.set_title(f"inter / intra {ratio:.2f}{beside}", loc="left", fontsize="medium", pad=22)
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    return finish(ax, show)
