"""Names next to points, out of each other's way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from numpy.typing import ArrayLike, NDArray

# Gaps between a point and its label, in points, and directions: the cheapest place wins.
_GAPS = (3, 8, 14, 21, 30, 42, 56)
_N_DIRECTIONS = 16
# What it costs to cover a label, to cross one with the line, to cover a labelled point, to cover a position that is
# better left free, and to leave the axes, in points of distance from the point.
_COVERS, _CROSSES, _HIDES, _TOUCHES, _LEAVES = 1000.0, 300.0, 60.0, 4.0, 2000.0
_MARGIN = 1.5


def label_points(
    ax: Axes,
    x: ArrayLike,
    y: ArrayLike,
    labels: Sequence[str],
    *,
    color: str,
    fontsize: float = 7.5,
    avoid: ArrayLike | None = None,
) -> list[Annotation]:
    """Write a label next to each point, joined to it by a thin line, where it covers least.

    Each label in turn takes the nearest place around its point where it covers neither a label written before, nor
    the legend, nor a labelled point, nor leaves the axes; where there is none, the least bad. Limits and scales of
    the axes must be final.

    Parameters
    ----------
    ax
        Axes that hold the points.
    x, y
        Positions in data coordinates, the most important first.
    labels
        One per point.
    color
        Of the text.
    fontsize
        In points.
    avoid
        Positions better left free, ``(n, 2)`` in data coordinates.

    Returns
    -------
    One annotation per point.
    """
    from matplotlib import patheffects

    # the whole figure, where ax.figure may be a part of one
    figure = ax.figure.canvas.figure
    halo = [patheffects.withStroke(linewidth=1.5, foreground="white", alpha=0.8)]
    # constrained layout moves the axes when drawing, and places are measured in the final positions
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    data = np.column_stack([np.ravel(x), np.ravel(y)])
    points = ax.transData.transform(data)
    free = np.empty((0, 2)) if avoid is None else ax.transData.transform(np.asarray(avoid))
    frame = np.asarray(ax.get_window_extent(renderer).extents)
    pixels = figure.dpi / 72
    legend = ax.get_legend()
    boxes = np.empty((0, 4)) if legend is None else np.asarray(legend.get_window_extent(renderer).extents)[None]
    annotations = []
    for at, point, label in zip(data, points, labels, strict=True):
        annotation = ax.annotate(
            label,
            at,
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            color=color,
            fontsize=fontsize,
            path_effects=halo,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.4, "alpha": 0.6, "shrinkA": 0, "shrinkB": 2},
        )
        extent = annotation.get_window_extent(renderer)
        half = np.array([extent.width, extent.height]) / 2 + _MARGIN * pixels
        offsets = _places(half, pixels)
        costs = np.linalg.norm(offsets, axis=1) / pixels + _costs(point, offsets, half, boxes, points, free, frame)
        offset = offsets[costs.argmin()]
        annotation.set_position(tuple(offset / pixels))
        boxes = np.vstack([boxes, np.concatenate([point + offset - half, point + offset + half])])
        annotations.append(annotation)
    return annotations


def _places(half: NDArray[np.float64], pixels: float) -> NDArray[np.float64]:
    """Offsets of the centre of a label from its point, all in pixels, ``(n_places, 2)``."""
    angles = np.arange(_N_DIRECTIONS) * 2 * np.pi / _N_DIRECTIONS
    directions = np.column_stack([np.cos(angles), np.sin(angles)]).round(9)
    return np.concatenate([directions * (half + gap * pixels) for gap in _GAPS])


def _costs(
    point: NDArray[np.float64],
    offsets: NDArray[np.float64],
    half: NDArray[np.float64],
    boxes: NDArray[np.float64],
    points: NDArray[np.float64],
    free: NDArray[np.float64],
    frame: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What each place costs beyond its distance, ``(n_places,)``; boxes are left, bottom, right, top."""
    low, high = point + offsets - half, point + offsets + half

    def covered(positions: NDArray[np.float64]) -> NDArray[np.int64]:
        return ((low[:, None] < positions) & (high[:, None] > positions)).all(axis=2).sum(axis=1)

    leaves = np.any((low < frame[:2]) | (high > frame[2:]), axis=1)
    covers = ((low[:, None] < boxes[:, 2:]) & (high[:, None] > boxes[:, :2])).all(axis=2).sum(axis=1)
    # the line, at a few places along its way
    steps = point + offsets[:, None] * np.linspace(0, 1, 8)[:, None]
    inside = (steps[:, :, None] > boxes[:, :2]) & (steps[:, :, None] < boxes[:, 2:])
    crosses = np.any(inside.all(axis=3), axis=1).sum(axis=1)
    marks = _HIDES * covered(points) + _TOUCHES * covered(free)
    return _LEAVES * leaves + _COVERS * covers + _CROSSES * crosses + marks
