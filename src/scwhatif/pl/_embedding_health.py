"""Plot of the health of an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_COLORS: Final = {"ok": OKABE_ITO["green"], "warn": OKABE_ITO["orange"], "error": OKABE_ITO["vermillion"]}
_LONGEST = 70


def embedding_health(
    adata: AnnData, *, key: str = Key.uns.EMBEDDING_HEALTH, ax: Axes | None = None, show: bool | None = None
) -> Axes:
    """Draw the share of the variance on each principal axis, with the verdict.

    Bars are shares; the line is what a round cloud of as many dimensions would have. The effective rank is marked. The
    title says the verdict, and below it stands the first reason.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.embedding_health`.
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
        Health was not computed under this key.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 30, 3, seed=0)
    >>> wi.tl.embedding_health(adata, use_rep="true_factors")
    >>> ax = wi.pl.embedding_health(adata, show=False)
    >>> ax.get_title(loc="left")
    'true_factors: ok'
    """
    result = stored(adata, key, "spectrum", "health of an embedding", "scwhatif.tl.embedding_health(adata")
    spectrum = np.asarray(result["spectrum"])
    values = result["metrics"].set_index("metric")["value"]
    color = _COLORS[str(result["status"])]
    places = np.arange(1, len(spectrum) + 1)
    ax = axes(ax, figsize=(4.8, 3.2))
    ax.bar(places, spectrum, width=0.8, color=color, lw=0)
    ax.axhline(1 / len(spectrum), color=TEXT, lw=1, ls=":")
    ax.axvline(float(values["erank"]), color=BACKGROUND, lw=1.5, zorder=0)
    right = values["erank"] > len(spectrum) / 2
    ax.annotate(
        f"effective rank {values['erank']:.1f} of {len(spectrum)}",
        (float(values["erank"]), 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if right else 4, -3),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top",
        fontsize="small",
        color=TEXT,
    )
    ax.set_xlim(0.3, len(spectrum) + 0.7)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_xlabel("principal axis")
    ax.set_ylabel("share of the variance")
    rep = result[Key.uns.PARAMS]["use_rep"]
    ax.set_title(f"{rep}: {str(result['verdict']).replace('_', ' ')}", loc="left", fontsize="medium", pad=18)
    reasons = list(result["reasons"])
    if reasons:
        said = reasons[0] if len(reasons[0]) <= _LONGEST else f"{reasons[0][: _LONGEST - 1]}…"
        ax.annotate(
            said,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 5),
            textcoords="offset points",
            fontsize="small",
            color=color,
        )
    return finish(ax, show)
