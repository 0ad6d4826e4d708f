"""Plot of what taking drivers away does to every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, TEXT, axes, color_bar, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from mudata import MuData

_FDR = 0.05
# Width and height of a cell in inches, and width of a letter.
_WIDTH, _HEIGHT, _LETTER = 0.62, 0.26, 0.08
# Share of the largest effect from which its colour is dark.
_DARK = 0.55


def gene_knockout(
    mdata: MuData,
    *,
    key: str = Key.uns.GENE_KNOCKOUT,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the size of the effect of every driver on every layer, and mark those that held-out data confirm.

    Colours are root mean squares over the features of a layer, in standard deviations of each. A dot marks a false
    discovery rate below 5 %. Drivers with too few carriers for a test are left grey with the number of carriers, since
    the largest effects are those of the rarest drivers.

    Parameters
    ----------
    mdata
        After :func:`scwhatif.tl.gene_knockout`.
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
        The effects were not computed under this key.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(60, n_drivers=5, n_rna=20, n_protein=10, n_ptm=(5, 5, 5), n_metabolites=5)
    >>> wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", protein="protein")
    >>> model = wi.model.MultiOmicLPM(mdata, n_latent=2)
    >>> parts = np.split(np.arange(60), [25, 30])
    >>> model.train(2, external_indexing=parts, enable_progress_bar=False)
    >>> wi.tl.gene_knockout(mdata, [model], n_null=100, n_pairs=0, progress=False)
    >>> ax = wi.pl.gene_knockout(mdata, show=False)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['rna', 'protein']
    """
    result = stored(mdata, key, "drivers", "effects of drivers", "scwhatif.tl.gene_knockout(mdata, model")
    table = result["table"]
    drivers, layers = (list(table[name].cat.categories) for name in ("driver", "layer"))
    effect, padj, n_carriers = (
        table[name].to_numpy(dtype=np.float64).reshape(len(drivers), len(layers))
        for name in ("effect", "padj", "n_carriers")
    )
    tested = np.isfinite(padj)
    margin = _LETTER * max(map(len, drivers))
    ax = axes(ax, figsize=(_WIDTH * len(layers) + 1.4 + margin, _HEIGHT * len(drivers) + 1.2))
    most = float(effect[tested].max(initial=0)) or 1.0
    ax.pcolormesh(np.where(tested, np.nan, 1.0), cmap=_one_color(), edgecolors="white", linewidth=1)
    image = ax.pcolormesh(
        np.where(tested, effect, np.nan), cmap="Blues", vmin=0, vmax=most, edgecolors="white", linewidth=1
    )
    rows, columns = np.nonzero(tested & (np.nan_to_num(padj, nan=1.0) < _FDR))
    dark = effect[rows, columns] > _DARK * most
    for color, chosen in (("white", dark), (TEXT, ~dark)):
        if chosen.any():
            ax.scatter(columns[chosen] + 0.5, rows[chosen] + 0.5, s=14, color=color, lw=0)
    for i, j in zip(*np.nonzero(~tested), strict=True):
        ax.text(j + 0.5, i + 0.5, f"{n_carriers[i, j]:g}", ha="center", va="center", fontsize="x-small", color=TEXT)
    ax.set_yticks(np.arange(len(drivers)) + 0.5, drivers)
    ax.set_xticks(np.arange(len(layers)) + 0.5, layers, rotation=45, ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    ax.invert_yaxis()
    what = "added" if result[Key.uns.PARAMS]["set_to"] else "removed"
    ax.set_title(f"driver {what};  ● FDR < {_FDR:.0%}", loc="left", fontsize="medium")
    color_bar(ax, image, "effect (SD)")
    ax.spines[:].set_visible(False)
    return finish(ax, show)


def _one_color() -> ListedColormap:
    from matplotlib.colors import ListedColormap

    return ListedColormap([BACKGROUND + "55"])
