"""Plot of the KL during training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._latent_usage import SMALLEST_KL
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_NO_DIMENSION = ("epoch", "stage", "kl", "kl_weight")


def kl_history(
    adata: AnnData,
    *,
    stage: str = "train",
    key: str = Key.uns.LATENT_USAGE,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the KL of each latent dimension over the epochs of training.

    Dimensions that end up active are coloured and named at their end (dashed where a colour comes a second time), dead
    ones are grey, and the epochs of the warm-up are shaded. A model that did not log its dimensions, or was rotated
    afterwards, shows the sum over dimensions.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.latent_usage` of a model with a history.
    stage
        ``"train"`` or ``"validation"``.
    key
        The tool's ``key_added``.
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
        No history was kept under this key, or not of this stage.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 30, 2, n_cell_types=3, n_batches=1, likelihood="normal")
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood="normal", seed=0)
    >>> model.train(max_epochs=20, batch_size=32, seed=0, enable_progress_bar=False)
    >>> wi.tl.latent_usage(adata, model)
    >>> ax = wi.pl.kl_history(adata, show=False)
    >>> [line.get_label() for line in ax.get_lines()]
    ['z0', 'z1']
    """
    what = "history of the KL, which a model must have kept (model.history)"
    result = stored(adata, key, "kl_history", what, "scwhatif.tl.latent_usage(adata, model")
    history = result["kl_history"]
    known = sorted(set(history["stage"]))
    if stage not in known:
        msg = f"stage={stage!r} was not logged; adata.uns[{key!r}]['kl_history'] holds {known}."
        raise KeyError(msg)
    part = history[history["stage"] == stage]
    active = result["table"]["active"]
    dimensions = [name for name in part.columns if name not in _NO_DIMENSION and part[name].notna().any()]

    ax = axes(ax)
    last = float(part["epoch"].iloc[-1])
    if not dimensions:
        ax.plot(part["epoch"], part["kl"], color=OKABE_ITO["blue"], label="kl")
    # dead ones first, beneath the others
    colors = _colors([name for name in dimensions if active[name]])
    for name in sorted(dimensions, key=lambda name: bool(active[name])):
        # from where the colours come round again
        again = name in colors and list(colors).index(name) >= len(OKABE_ITO)
        style = "--" if again else "-"
        ax.plot(part["epoch"], part[name], color=colors.get(name, BACKGROUND), lw=1.5, ls=style, label=name)
    top = max(1.05 * float(part[dimensions or ["kl"]].max(axis=None)), SMALLEST_KL)
    ax.set_ylim(0, top)
    for name, y in _spread({name: float(part[name].iloc[-1]) for name in colors}, 0.045 * top).items():
        ax.annotate(
            name,
            (last, y),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=colors[name],
            annotation_clip=False,
        )
    _shade_warmup(ax, part)
    ax.set_xlim(0, max(last, 1.0))
    ax.set_xlabel("epoch")
    ax.set_ylabel("KL per dimension (nats)" if dimensions else "KL, sum over dimensions (nats)")
    return finish(ax, show)


def _colors(names: list[str]) -> dict[str, str]:
    palette = list(OKABE_ITO.values())
    return {name: palette[i % len(palette)] for i, name in enumerate(names)}


def _spread(ends: dict[str, float], apart: float) -> dict[str, float]:
    """Heights for the names: as near to the ends of their lines as lets them stand ``apart``."""
    from scipy.optimize import isotonic_regression

    names = sorted(ends, key=lambda name: ends[name])
    if not names:
        return {}
    steps = apart * np.arange(len(names))
    heights = isotonic_regression(np.array([ends[name] for name in names]) - steps).x + steps
    return dict(zip(names, heights.tolist(), strict=True))


def _shade_warmup(ax: Axes, part: pd.DataFrame) -> None:
    if "kl_weight" not in part or not (part["kl_weight"] < 1).any():
        return
    end = float(part.loc[part["kl_weight"] < 1, "epoch"].max()) + 1
    ax.axvspan(0, end, color=BACKGROUND, alpha=0.25, lw=0)
    ax.annotate(
        "warm-up",
        (end / 2, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, -3),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize="small",
        color=TEXT,
    )
