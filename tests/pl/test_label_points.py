"""Tests of the placing of labels."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from scwhatif.pl._label_points import label_points


@pytest.fixture
def ax() -> plt.Axes:
    figure, ax = plt.subplots(figsize=(4, 3), layout="constrained")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    yield ax
    plt.close(figure)


def boxes(ax: plt.Axes, annotations: list) -> list[Bbox]:
    ax.figure.draw_without_rendering()
    # the text alone, without the line to the point
    return [Text.get_window_extent(each) for each in annotations]


def overlap(a: Bbox, b: Bbox) -> bool:
    return Bbox.intersection(a, b) is not None


def test_crowded_labels_do_not_overlap(ax: plt.Axes):
    rng = np.random.default_rng(0)
    x, y = 0.5 + 0.08 * rng.normal(size=(2, 15))
    found = boxes(ax, label_points(ax, x, y, [f"GENE{i}" for i in range(15)], color="k"))
    assert not [pair for pair in itertools.combinations(found, 2) if overlap(*pair)]
    points = ax.transData.transform(np.column_stack([x, y]))
    assert sum(box.contains(*point) for box in found for point in points) == 0


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_labels_stay_inside(ax: plt.Axes, corner: tuple[int, int]):
    (box,) = boxes(ax, label_points(ax, [corner[0]], [corner[1]], ["A_LONG_NAME"], color="k"))
    frame = ax.get_window_extent()
    assert box.x0 >= frame.x0
    assert box.x1 <= frame.x1
    assert box.y0 >= frame.y0
    assert box.y1 <= frame.y1


def test_a_lone_label_is_close(ax: plt.Axes):
    (annotation,) = label_points(ax, [0.5], [0.5], ["G"], color="k")
    assert np.hypot(*annotation.get_position()) < 12
    assert annotation.xy == pytest.approx((0.5, 0.5))


def test_the_legend_is_left_free(ax: plt.Axes):
    ax.plot([], [], label="a legend that takes some room")
    legend = ax.legend(loc="center")
    box = boxes(ax, label_points(ax, [0.5], [0.5], ["GENE"], color="k"))[0]
    assert not overlap(box, legend.get_window_extent())


def test_positions_to_leave_free(ax: plt.Axes):
    plain = label_points(ax, [0.5], [0.5], ["GENE"], color="k")[0].get_position()
    angle = np.arctan2(*plain[::-1])
    free = 0.5 + np.linspace(0, 0.12, 30)[:, None] * [[np.cos(angle), np.sin(angle)]]
    assert label_points(ax, [0.5], [0.5], ["GENE"], color="k", avoid=free)[0].get_position() != plain


def test_nothing_to_label(ax: plt.Axes):
    assert label_points(ax, [], [], [], color="k") == []
