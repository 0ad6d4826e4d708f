"""What all plots share: colours, quiet axes, and when to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
