"""Tests of what all plots share."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from scwhatif.pl._style import BACKGROUND, OKABE_ITO, axes, color_bar, finish, panels, plain_log, short_name


@pytest.fixture
def ax() -> plt.Axes:
    return plt.subplots()[1]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_axes_are_given_or_made(ax: plt.Axes):
    assert axes(ax) is ax
    made = axes(None, (3, 2))
    assert made is not ax
    assert tuple(made.figure.get_size_inches()) == (3, 2)


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


def test_panels_are_given_or_made():
    made = panels(None, 5, "metrics", per_row=3, size=(2, 1.5))
    figure = made[0].figure
    assert len(made) == len(figure.axes) == 5
    assert tuple(figure.get_size_inches()) == (6, 3)
    assert panels(made, 5, "metrics", per_row=3, size=(2, 1.5)) == made
    assert panels(made[0], 1, "metrics", per_row=3, size=(2, 1.5)) == made[:1]
    with pytest.raises(ValueError, match="ax holds 5 axes for 4 metrics; give one each"):
        panels(made, 4, "metrics", per_row=3, size=(2, 1.5))
    assert tuple(panels(None, 2, "metrics", per_row=3, size=(2, 1.5))[0].figure.get_size_inches()) == (4, 1.5)


def test_color_bar(ax: plt.Axes):
    bar = color_bar(ax, ax.pcolormesh([[0.0, 2.0]]), "share", ticks=[0, 1])
    assert bar.ax.get_ylabel() == "share"
    assert bar.get_ticks().tolist() == [0, 1]
    assert not bar.outline.get_visible()
    assert bar.ax.figure is ax.figure


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("MYC:x2 + TP53:ko", "MYC:x2 + TP53:ko"),
        ("down{STMN2,NEFL}:x0.5 + {JUN,FOS}:ko", "down:x0.5 + {JUN,FOS}:ko"),
        ("down{STMN2,NEFL}", "down"),
        ("{STMN2,NEFL}:ko + {JUN,FOS}", "{STMN2,NEFL}:ko + {JUN,FOS}"),
        ("{STMN2,NEFL,JUN,FOS,ATF3}:x0.5 + MYC:x2", "{STMN2 +4}:x0.5 + MYC:x2"),
        ("{STMN2,NEFL}:ko + ATF3:x0.5 + MYC:x2", "{STMN2 +1}:ko + ATF3:x0.5 +…"),
    ],
)
def test_short_names(text: str, short: str):
    assert short_name(text) == short
    assert len(short_name(text, 10)) <= 10
