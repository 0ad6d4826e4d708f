"""What the plot of suspicious labels draws."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

SCORE = np.array([-0.9, -0.8, -0.8, -0.1, 0.5, 0.6, np.nan])
NULL = np.array([0.7, 0.7, 0.8, 0.1, 0.0, 0.2, np.nan])


@pytest.fixture
def adata():
    cells = ad.AnnData(np.zeros((7, 1), np.float32))
    cells.obs["suspicious_labels_score"], cells.obs["suspicious_labels_null"] = SCORE, NULL
    cells.obs["suspicious_labels_flagged"] = SCORE >= 0.5
    cells.uns["suspicious_labels"] = {
        "planted": pd.DataFrame({"auc": [0.9]}),
        "threshold": 0.5,
        "estimate": {"precision": 0.81},
        "params": {},
    }
    return cells


def test_bars_outline_and_threshold(adata):
    ax = wi.pl.suspicious_labels(adata, bins=10, show=False)
    labelled, flagged, null = ax.containers[0], ax.containers[1], ax.patches[-1]
    edges = np.linspace(-0.9, 0.8, 11)
    assert [bar.get_height() for bar in labelled] == np.histogram(SCORE[:4], edges)[0].tolist()
    assert [bar.get_height() for bar in flagged] == np.histogram(SCORE[4:6], edges)[0].tolist()
    assert null.get_xy()[:, 1].max() == np.histogram(NULL[:6], edges)[0].max()
    assert ax.get_lines()[0].get_xdata() == [0.5, 0.5]
    assert ax.get_title(loc="left") == "2 of 7 cells flagged, at most 81% of them wrong"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(texts) == ["as labelled", "flagged", "with another label"]
    plt.close("all")


def test_no_threshold(adata):
    adata.uns["suspicious_labels"]["threshold"] = np.inf
    adata.obs["suspicious_labels_flagged"] = False
    _, ax = plt.subplots()
    assert wi.pl.suspicious_labels(adata, ax=ax, show=False) is ax
    assert not ax.get_lines()
    assert ax.get_title(loc="left") == "0 of 7 cells flagged"
    plt.close("all")


def test_nothing_to_draw(adata):
    with pytest.raises(KeyError, match=r"tl\.suspicious_labels\(adata, identity_key=…, key_added='other'\)"):
        wi.pl.suspicious_labels(adata, key="other")
