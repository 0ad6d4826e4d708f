from __future__ import annotations

import re

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

FROM, TO = ["HeLa", "K562"], ["NHEK", "HeLa", "K562"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> ad.AnnData:
    """Changes as the tool writes them, of two lines into three."""
    change = np.array([[0.2, 0.0, -0.05], [0.1, 0.03, 0.0]])
    table = pd.DataFrame(
        {
            "from": pd.Categorical(np.repeat(FROM, 3), categories=FROM),
            "to": pd.Categorical(TO * 2, categories=TO),
            "change": change.ravel(),
            "n_on": [12, 0, 0, 3, 1, 0],
            "n_off": [0, 0, 4, 0, 0, 0],
        }
    )
    table["change_low"], table["change_high"] = table["change"] - 0.01, table["change"] + 0.02
    table["log_odds_change"] = 3 * table["change"]
    adata = ad.AnnData(np.zeros((2, 1), dtype=np.float32))
    adata.uns["swap_context"] = {"table": table, "pairs": pd.DataFrame(), "params": {}}
    return adata


def written(ax):
    texts: dict[tuple[float, float], list[str]] = {}
    for text in ax.texts:
        texts.setdefault(text.get_position(), []).append(text.get_text())
    return texts


def test_changes_with_ranges_from_by_to(adata):
    ax = wi.pl.swap_context(adata, show=False)
    drawn = np.asarray(ax.collections[0].get_array()).reshape(2, 3)
    np.testing.assert_array_equal(drawn, [[0.2, 0.0, -0.05], [0.1, 0.03, 0.0]])
    # no change is the middle of the colours
    assert ax.collections[0].get_clim() == (-0.2, 0.2)
    assert [label.get_text() for label in ax.get_yticklabels()] == FROM
    assert [label.get_text() for label in ax.get_xticklabels()] == TO
    assert ax.yaxis_inverted()
    texts = written(ax)
    assert texts[0.5, 0.5] == ["+0.200", "+0.190 to +0.220"]
    assert texts[2.5, 0.5] == ["-0.050", "-0.060 to -0.030"]
    # the own line
    assert texts[1.5, 0.5] == texts[2.5, 1.5] == ["0"]
    colors = {text.get_position(): text.get_color() for text in ax.texts}
    assert [at for at, color in colors.items() if color == "white"] == [(0.5, 0.5)]


@pytest.mark.parametrize(("score", "expected"), [("n_on", [12, 0, 0, 3, 1, 0]), ("n_off", [0, 0, 4, 0, 0, 0])])
def test_counts_of_switches(adata, score, expected):
    ax = wi.pl.swap_context(adata, score, show=False)
    texts = written(ax)
    assert [texts[x + 0.5, y + 0.5] for y in range(2) for x in range(3)] == [[str(n)] for n in expected]
    assert ax.collections[0].get_clim() == (0, max(expected))


def test_log_odds(adata):
    assert written(wi.pl.swap_context(adata, "log_odds_change", show=False))[0.5, 0.5] == ["+0.600"]


def test_nothing_switched(adata):
    adata.uns["swap_context"]["table"]["n_on"] = 0
    assert len(wi.pl.swap_context(adata, "n_on", show=False).texts) == 6


def test_long_names_are_turned(adata):
    table = adata.uns["swap_context"]["table"]
    table["to"] = table["to"].cat.rename_categories({"NHEK": "keratinocyte"})
    labels = wi.pl.swap_context(adata, show=False).get_xticklabels()
    assert {label.get_rotation() for label in labels} == {45}


def test_given_axes_and_bad_input(adata):
    ax = plt.subplots()[1]
    assert wi.pl.swap_context(adata, ax=ax, show=False) is ax
    with pytest.raises(KeyError, match=re.escape("run scwhatif.tl.swap_context(adata, model, key_added='other')")):
        wi.pl.swap_context(adata, key="other")
    with pytest.raises(ValueError, match="score='own'"):
        wi.pl.swap_context(adata, "own")  # type: ignore[arg-type]
