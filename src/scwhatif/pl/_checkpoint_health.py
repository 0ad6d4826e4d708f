"""Plot of the health of checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_COLORS: Final = {"ok": OKABE_ITO["green"], "warn": OKABE_ITO["orange"], "error": OKABE_ITO["vermillion"]}
_SHARES: Final = ("erank_ratio", "top1", "mean_cosine", "map")


def checkpoint_health(
    adata: AnnData,
    metrics: Sequence[str] | None = None,
    *,
    key: str = Key.uns.CHECKPOINT_HEALTH,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw indicators of the embedding over the checkpoints of a run.

    Every line is an indicator, and the squares below say the status of each checkpoint: green is well, orange a
    warning, red an error.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.checkpoint_health`.
    metrics
        Columns of its table; ``None`` is the effective rank and the share of the first axis, the mean cosine, and mean
        average precision where it was measured.
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
        Checkpoints were not judged under this key, or a metric is no number of the table.

    Examples
    --------
    >>> import tempfile
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 30, 3, seed=0)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> folder = tempfile.mkdtemp()
    >>> for epoch in range(2):
    ...     model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    ...     model.save(f"{folder}/epoch={epoch}")
    >>> wi.tl.checkpoint_health(adata, folder, model_class=wi.model.BetaLinearSCVI)
    >>> ax = wi.pl.checkpoint_health(adata, show=False)
    >>> ax.get_xlabel(), [line.get_label() for line in ax.get_lines()]
    ('epoch', ['erank ratio', 'top1', 'mean cosine'])
    """
    from matplotlib.ticker import MaxNLocator

    call = "scwhatif.tl.checkpoint_health(adata, paths, model_class=…"
    table = stored(adata, key, "table", "health of checkpoints", call)["table"]
    numbers = [str(name) for name in table.select_dtypes("number").columns if name != "epoch"]
    drawn = [name for name in _SHARES if name in numbers] if metrics is None else list(metrics)
    for name in drawn:
        if name not in numbers:
            msg = f"metrics holds {name!r}, which is no number of the table; known are {numbers}."
            raise KeyError(msg)
    dated = bool(table["epoch"].notna().all())
    places = table["epoch"].to_numpy() if dated else np.arange(len(table))
    ax = axes(ax, figsize=(5.0, 3.4))
    palette = [color for color in OKABE_ITO.values() if color not in _COLORS.values()] + [TEXT]
    for i, name in enumerate(drawn):
        color, style = palette[i % len(palette)], "-" if i < len(palette) else "--"
        ax.plot(places, table[name], color=color, ls=style, marker=".", lw=1.5, label=name.replace("_", " "))
    colors = [_COLORS[str(status)] for status in table["status"]]
    ax.scatter(
        places, np.full(len(places), 0.03), c=colors, marker="s", s=22, transform=ax.get_xaxis_transform(), zorder=3
    )
    ax.margins(y=0.12)
    if dated:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        ax.set_xticks(places, list(table["checkpoint"]), rotation=30, ha="right", fontsize="small")
    ax.set_xlabel("epoch" if dated else "checkpoint")
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return finish(ax, show)
