"""Plot of what each latent dimension is charged, and what it explains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

# Top of the axis at least, in nats: an axis that shrank to the data would blow up what is dead.
SMALLEST_KL: Final = 0.5
_VERDICTS = {
    "healthy": "healthy",
    "partial_collapse": "partially collapsed",
    "total_collapse": "totally collapsed",
}


def latent_usage(
    adata: AnnData,
    *,
    key: str = Key.uns.LATENT_USAGE,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the KL of each latent dimension, and the share of the decoded log-rate that it explains.

    A bar is the KL; its dark part is information, the pale rest is charged for lying away from the prior. Dead
    dimensions are grey and marked with a cross. The dotted line is the KL that an active one must exceed, and is always
    in view, so that collapse looks like collapse. Points, with the axis on the right, are explained shares of active
    dimensions, where the model's decoder is linear.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.latent_usage`.
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
        The usage was not computed under this key.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 30, 2, n_cell_types=3, n_batches=1, likelihood="normal")
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood="normal", seed=0)
    >>> model.train(max_epochs=20, batch_size=32, seed=0, enable_progress_bar=False)
    >>> wi.tl.latent_usage(adata, model)
    >>> ax = wi.pl.latent_usage(adata, show=False)
    >>> ax.get_title(loc="left")
    '2 of 2 dimensions active: healthy'
    """
    call = "scwhatif.tl.latent_usage(adata, model"
    result = stored(adata, key, "verdict", "usage of latent dimensions", call)
    table = result["table"]
    places = np.arange(len(table))
    active = table["active"].to_numpy(dtype=bool)
    color = np.where(active, OKABE_ITO["blue"], BACKGROUND)

    ax = axes(ax, figsize=(0.3 * len(table) + 2.6, 3.0))
    ax.bar(places, table["kl"], width=0.75, color=color, alpha=0.35, lw=0)
    ax.bar(places, table["mutual_information"], width=0.75, color=color, lw=0)
    ax.plot(places[~active], table["kl"].to_numpy()[~active], ls="", marker="x", ms=5, color=TEXT, clip_on=False)
    ax.set_xticks(places, list(table.index), rotation=90 if len(table) > 12 else 0)
    ax.tick_params(axis="x", length=0)
    for label, used in zip(ax.get_xticklabels(), active, strict=True):
        label.set_color(TEXT if used else "#999999")
    ax.set_xlim(-0.6, len(table) - 0.4)
    ax.axhline(float(result[Key.uns.PARAMS]["active_kl"]), color=TEXT, lw=1, ls=":")
    ax.set_ylim(0, max(1.05 * float(table["kl"].max()), SMALLEST_KL))
    ax.set_ylabel("KL from the prior (nats)")
    ax.set_xlabel("dark: information on the cell", fontsize="small")
    n_active, n_latent = int(active.sum()), len(table)
    ax.set_title(
        f"{n_active} of {n_latent} dimensions active: {_VERDICTS[str(result['verdict'])]}",
        loc="left",
        fontsize="medium",
    )
    drawn = active & table["explained_share"].notna().to_numpy()
    if drawn.any():
        _draw_shares(ax, places[drawn], table["explained_share"].to_numpy()[drawn])
    return finish(ax, show)


def _draw_shares(ax: Axes, places: np.ndarray, share: np.ndarray) -> None:
    right = ax.twinx()
    right.plot(places, share, ls="", marker="o", ms=5, color=OKABE_ITO["vermillion"], mec="white", clip_on=False)
    right.set_ylim(0, min(1.05 * float(share.max()), 1.0))
    right.yaxis.set_major_formatter("{x:.0%}")
    right.set_ylabel("explained share (points)", color=OKABE_ITO["vermillion"])
    right.tick_params(axis="y", colors=OKABE_ITO["vermillion"])
    right.spines[["top", "left", "bottom"]].set_visible(False)
    right.spines["right"].set_color(OKABE_ITO["vermillion"])
