"""What all plots share: colours, quiet axes, and when to show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar

# Okabe and Ito's palette, distinct for all kinds of colour vision; black is left for text.
OKABE_ITO: Final = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
}
# For what is there to be compared with.
BACKGROUND: Final = "#BBBBBB"
TEXT: Final = "#333333"


def axes(ax: Axes | None, figsize: tuple[float, float] = (4.5, 3.6)) -> Axes:
    """Return ``ax``, or the axes of a new figure.

    Parameters
    ----------
    ax
        Axes to draw into, or ``None``.
    figsize
        Width and height of a new figure in inches.

    Returns
    -------
    The axes.
    """
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def panels(
    ax: Axes | Sequence[Axes] | None,
    n: int,
    what: str,
    *,
    per_row: int,
    size: tuple[float, float],
    sharex: bool = False,
) -> list[Axes]:
    """Return the given axes, or those of a new figure with rows of panels.

    Parameters
    ----------
    ax
        Axes to draw into, or ``None``.
    n
        Number of panels.
    what
        What they show one each of, in the plural.
    per_row
        Most panels in a row of a new figure.
    size
        Width and height of a panel of a new figure in inches.
    sharex
        Whether the panels of a new figure have one horizontal scale.

    Returns
    -------
    The axes, ``n`` of them.

    Raises
    ------
    ValueError
        There are fewer or more axes than panels.
    """
    if ax is not None:
        given = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(given) != n:
            msg = f"ax holds {len(given)} axes for {n} {what}; give one each."
            raise ValueError(msg)
        return given
    import matplotlib.pyplot as plt

    n_columns = min(n, per_row)
    n_rows = -(-n // n_columns)
    figsize = (size[0] * n_columns, size[1] * n_rows)
    figure, grid = plt.subplots(n_rows, n_columns, figsize=figsize, layout="constrained", squeeze=False, sharex=sharex)
    for left_over in grid.flat[n:]:
        figure.delaxes(left_over)
    return list(grid.flat[:n])


def color_bar(
    ax: Axes, mappable: ScalarMappable, label: str, *, shrink: float = 0.7, ticks: Sequence[float] | None = None
) -> Colorbar:
    """Draw the key of a colour scale beside a plot, without a frame.

    Parameters
    ----------
    ax
        The plot.
    mappable
        What holds the scale.
    label
        What the colours stand for, with its unit.
    shrink
        Height, as a share of that of the plot.
    ticks
        Where to put ticks; ``None`` leaves it to matplotlib.

    Returns
    -------
    The colour bar.
    """
    bar = ax.figure.colorbar(mappable, ax=ax, shrink=shrink, aspect=18, pad=0.02, ticks=ticks)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="small", length=2)
    bar.set_label(label, fontsize="small")
    return bar


def short_name(text: str, length: int = 28) -> str:
    """Shorten the text of a perturbation, so that it can stand in a plot.

    Parameters
    ----------
    text
        A perturbation or target; named gene sets lose their genes.
    length
        Largest number of letters; in what is longer, a set without a name keeps its first gene and their number, and
        what is still longer is cut.

    Returns
    -------
    The short text.
    """
    text = re.sub(r"(?<=[^\s+])\{[^}]*\}", "", text)
    if len(text) > length:
        text = re.sub(r"\{([^,}]*),([^}]*)\}", lambda found: f"{{{found[1]} +{found[2].count(',') + 1}}}", text)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def plain_log(ax: Axes, *, x: bool = False, y: bool = False) -> None:
    """Use logarithmic axes with ticks written as plain numbers, between powers of ten too where there are few.

    Parameters
    ----------
    ax
        The plot, with all its data.
    x, y
        Which axes.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for axis, wanted in ((ax.xaxis, x), (ax.yaxis, y)):
        if not wanted:
            continue
        getattr(ax, f"set_{axis.axis_name}scale")("log")
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 300 else (1.0,)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def finish(ax: Axes, show: bool | None) -> Axes:  # noqa: FBT001  (the plots' own argument, passed on)
    """Take away what carries no data, and show the figure if wanted.

    Parameters
    ----------
    ax
        The finished plot.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive, as in a notebook.

    Returns
    -------
    ``ax``.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    ax.spines[["top", "right"]].set_visible(False)
    if mpl.is_interactive() if show is None else show:
        plt.show()
    return ax
