"""Tests of bars with intervals by what they draw."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scwhatif.pl._effect_bars import bar_legend, effect_bars
from scwhatif.pl._style import BACKGROUND, OKABE_ITO

ROWS = pd.DataFrame({"name": ["a", "b", "c"], "effect": [1.0, -0.5, 0.2], "padj": [0.01, 0.02, np.nan]})


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_draws_every_row():
    rows = ROWS.assign(low=ROWS["effect"] - 0.1, high=ROWS["effect"] + 0.2)
    ax = effect_bars(None, rows, "name", interval="95 %")
    bar_legend(ax)
    np.testing.assert_allclose([each.get_width() for each in ax.patches], rows["effect"])
    wanted = [OKABE_ITO["vermillion"], OKABE_ITO["blue"], BACKGROUND]
    assert [to_hex(each.get_facecolor()) for each in ax.patches] == [each.lower() for each in wanted]
    np.testing.assert_allclose([e[:, 0] for e in ax.collections[0].get_segments()], rows[["low", "high"]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["95 %"]
    assert ax.yaxis_inverted()


def test_without_intervals_there_is_no_legend():
    _, ax = plt.subplots()
    assert effect_bars(ax, ROWS, "name", interval="95 %") is ax
    bar_legend(ax)
    assert not ax.collections
    assert ax.get_legend() is None
