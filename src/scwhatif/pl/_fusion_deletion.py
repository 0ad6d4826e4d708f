"""Plot of which layers a fusion acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_FDR = 0.05


def fusion_deletion(
    mdata: MuData,
    *,
    key: str = Key.uns.FUSION_DELETION,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw how much taking a fusion away changes every layer.

    Points are root mean squares over the features of a layer, in standard deviations of each, with their 95 % interval.
    Beside them stands how far held-out data lie above what chance gives (Z); layers at a false discovery rate below 5 %
    are coloured. Layers are in the order of Z, not of the size, since size goes with noise.

    Parameters
    ----------
    mdata
        After :func:`scwhatif.tl.fusion_deletion`.
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
    >>> wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", ptm=["ptm_0", "ptm_2"])
    >>> model = wi.model.MultiOmicLPM(mdata, n_latent=2)
    >>> parts = np.split(np.arange(60), [25, 30])
    >>> model.train(2, external_indexing=parts, enable_progress_bar=False)
    >>> wi.tl.fusion_deletion(mdata, [model], "fusion", n_null=100)
    >>> ax = wi.pl.fusion_deletion(mdata, show=False)
    >>> ax.get_title(loc="left").startswith("fusion removed")
    True
    """
    result = stored(mdata, key, "contrasts", "deletion of a fusion", "scwhatif.tl.fusion_deletion(mdata, model, fusion")
    table = result["table"]
    places = np.arange(len(table))
    significant = (table["padj"] < _FDR).to_numpy()
    color = np.where(significant, OKABE_ITO["vermillion"], BACKGROUND)
    ax = axes(ax, figsize=(4.8, 0.32 * len(table) + 1.1))
    ax.hlines(places, table["low"], table["high"], color=color, lw=2)
    ax.scatter(table["effect"], places, s=28, color=color, lw=0, zorder=3)
    for place, z in zip(places, table["statistic"], strict=True):
        label = f"Z = {z:.1f}" if np.isfinite(z) else "no verdict"
        ax.text(
            1.02, float(place), label, transform=ax.get_yaxis_transform(), va="center", fontsize="small", color=TEXT
        )
    layers = table["layer"].astype(str)
    ax.set_yticks(places, [f"{layer} ({n})" for layer, n in zip(layers, table["n_features"], strict=True)])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("effect (SD)")
    n_carriers = int(table["n_carriers"].max())
    ax.set_title(f"{result[Key.uns.PARAMS]['fusion']} removed ({n_carriers} carriers)", loc="left", fontsize="medium")
    finish(ax, show)
    ax.spines["left"].set_visible(False)
    return ax
