"""Tests of what all plots share."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from scwhatif.pl._style import BACKGROUND, OKABE_ITO, axes, finish, plain_log


@pytest.fixture
def ax() -> plt.Axes:
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_axes_are_given_or_made(ax: plt.Axes):
    assert axes(ax) is ax
    made = axes(None, (3, 2))
    assert made is not ax
    assert tuple(made.figure.get_size_inches()) == (3, 2)
    plt.close(made.figure)


@pytest.mark.parametrize(
    ("show", "interactive", "shown"), [(True, False, 1), (False, True, 0), (None, True, 1), (None, False, 0)]
)
def test_shows_when_asked_or_interactive(
    ax: plt.Axes, monkeypatch: pytest.MonkeyPatch, show: bool | None, interactive: bool, shown: int
):
    calls: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: calls.append(1))
    monkeypatch.setattr("matplotlib.is_interactive", lambda: interactive)
    assert finish(ax, show) is ax
    assert len(calls) == shown
    assert not ax.spines["top"].get_visible()
    assert ax.spines["left"].get_visible()


@pytest.mark.parametrize(
    ("limits", "wanted"), [((0.05, 0.6), ["0.05", "0.1", "0.2", "0.5"]), ((0.005, 20), ["0.01", "0.1", "1", "10"])]
)
def test_plain_log_ticks(ax: plt.Axes, limits: tuple[float, float], wanted: list[str]):
    ax.set_ylim(*limits)
    plain_log(ax, y=True)
    ax.figure.draw_without_rendering()
    low, high = limits
    found = [t.get_text() for t, at in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True) if low <= at <= high]
    assert found == wanted
    assert ax.get_xscale() == "linear"


def test_colours_are_distinct():
    assert len({*OKABE_ITO.values(), BACKGROUND}) == len(OKABE_ITO) + 1
