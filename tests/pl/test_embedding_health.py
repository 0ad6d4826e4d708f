"""What the plot of health draws."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

import scwhatif as wi


@pytest.fixture
def adata():
    adata = wi.datasets.simulate_factors(200, 30, 4, seed=0)
    adata.obsm["X_line"] = np.outer(np.random.default_rng(0).normal(size=200), np.ones(5))
    return adata


def test_bars_are_the_spectrum(adata):
    wi.tl.embedding_health(adata, use_rep="true_factors")
    ax = wi.pl.embedding_health(adata, show=False)
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx(adata.uns["embedding_health"]["spectrum"])
    assert ax.lines[0].get_ydata()[0] == pytest.approx(1 / 4)
    erank = adata.uns["embedding_health"]["metrics"].set_index("metric").loc["erank", "value"]
    assert ax.lines[1].get_xdata()[0] == pytest.approx(erank)


def test_trouble_is_named_and_coloured(adata):
    wi.tl.embedding_health(adata, use_rep="X_line", key_added="line")
    ax = wi.pl.embedding_health(adata, key="line", show=False)
    assert ax.get_title(loc="left") == "X_line: dimensional"
    assert to_hex(ax.patches[0].get_facecolor()) == "#d55e00"
    assert any(text.get_text() == adata.uns["line"]["reasons"][0] for text in ax.texts)


def test_nothing_to_draw(adata):
    with pytest.raises(KeyError, match=r"run scwhatif\.tl\.embedding_health\(adata, key_added='other'\)"):
        wi.pl.embedding_health(adata, key="other")
