"""Plot of which labels are taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import TEXT, axes, color_bar, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

# Width and height of a cell in inches, and the share from which its colour is dark.
_WIDTH, _HEIGHT = 1.0, 0.75
_DARK = 0.55
# Width of a letter in inches, and letters that a label can have without being turned.
_LETTER, _LEVEL = 0.08, 11


def confusion(
    adata: AnnData,
    *,
    key: str = Key.uns.LATENT_CLASSIFIER,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw which labels a classifier of latent codes takes for which, on cells that it was not fitted to.

    Each row is a true label. A cell holds the share of its cells that were given a label, the 95 % interval of the
    share, and their number. Shares of a row add up to 1.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.latent_classifier`.
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
        The classifier was not run under this key.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 100, 4, n_cell_types=3)
    >>> wi.tl.latent_classifier(adata, "cell_type", use_rep="true_factors", groups=None, n_permutations=0)
    >>> ax = wi.pl.confusion(adata, show=False)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['type_0', 'type_1', 'type_2']
    """
    call = "scwhatif.tl.latent_classifier(adata, label"
    table = stored(adata, key, "confusion", "confusion of labels", call)["confusion"]
    labels = list(table["true"].cat.categories)
    k = len(labels)
    longest = max(map(len, labels))
    turned = longest > _LEVEL
    margin = _LETTER * longest
    ax = axes(ax, figsize=(_WIDTH * k + 1.7 + margin, _HEIGHT * k + (0.6 + margin if turned else 0.9)))
    shares = table["share"].to_numpy().reshape(k, k)
    image = ax.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    for row in table.itertuples():
        x, y = labels.index(row.predicted) + 0.5, labels.index(row.true) + 0.5
        color = "white" if row.share > _DARK else TEXT
        ax.text(x, y, f"{row.share:.2f}", ha="center", va="bottom", color=color)
        ax.text(x, y, f"{_interval(row)}\nn = {row.n}", ha="center", va="top", fontsize="x-small", color=color)
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    ax.set_xticks(np.arange(k) + 0.5, labels, **turn)
    ax.set_yticks(np.arange(k) + 0.5, labels)
    ax.set_xlabel("predicted out of fold")
    ax.set_ylabel("true")
    ax.tick_params(length=0)
    ax.invert_yaxis()
    color_bar(ax, image, "share of the true label", ticks=[0, 0.5, 1])
    ax.spines[:].set_visible(False)
    return finish(ax, show)


def _interval(row: Any) -> str:
    return f"{row.low:.2f}–{row.high:.2f}"
