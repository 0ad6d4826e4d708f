from __future__ import annotations

import re

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scwhatif as wi
from scwhatif.pl._style import OKABE_ITO

KEY = "pair_attribution"
FEATURES = ["CTCF", "DNase", "distance"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> ad.AnnData:
    """Attributions as the tool writes them."""
    table = pd.DataFrame(
        {
            "cell_line": pd.Categorical(["all"] * 3 + ["K562"] * 3, categories=["all", "K562"]),
            "feature": FEATURES * 2,
            "attribution": [0.5, -0.2, 0.0, -0.4, 0.1, 0.3],
            "direction": [-0.9, 0.8, np.nan, np.nan, np.nan, np.nan],
            "size": [0.9, 0.6, 0.1, 0.8, 0.5, 0.3],
            "n_pairs": 2,
        }
    )
    adata = ad.AnnData(np.zeros((3, 3), dtype=np.float32), var=pd.DataFrame(index=FEATURES))
    adata.obs_names = ["a", "b", "c"]
    found = np.array([[0.1, -2.0, np.nan], [0.2, 0.3, 0.4], [np.nan] * 3])
    adata.obsm[KEY] = pd.DataFrame(found, index=adata.obs_names, columns=FEATURES)
    adata.uns[KEY] = {"table": table, "lines": pd.DataFrame(), "params": {"target": "probability"}}
    return adata


@pytest.fixture
def sequences(adata: ad.AnnData) -> ad.AnnData:
    """Contributions of the bases of two pairs."""
    contributions = np.zeros((2, 30), dtype=np.float32)
    contributions[1, 4:8], contributions[1, 20] = 1.0, -0.5
    windows = pd.DataFrame(
        {
            "pair": ["c", "c", "a"],
            "end": pd.Categorical(["enhancer", "promoter", "promoter"]),
            "start": [4, 8, 0],
            "stop": [8, 12, 4],
        }
    )
    adata.uns[KEY] |= {
        "contributions": contributions,
        "pairs": np.array(["a", "c"]),
        "windows": windows,
        "params": {"target": "score", "enhancer_length": 12},
    }
    return adata


def lengths(ax):
    # bars of both colours, from the top
    bars = sorted(ax.patches, key=lambda bar: bar.get_y())
    return [round(float(bar.get_width()), 6) for bar in bars], [to_hex(bar.get_facecolor()).upper() for bar in bars]


def test_bars_are_sizes_coloured_by_direction_or_sign(adata):
    ax = wi.pl.pair_attribution(adata, show=False)
    widths, colors = lengths(ax)
    assert widths == [0.9, 0.6, 0.1]
    raises, lowers = OKABE_ITO["vermillion"], OKABE_ITO["blue"]
    assert colors == [lowers, raises, lowers]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["more of it raises", "more of it lowers"]
    assert [label.get_text() for label in ax.get_yticklabels()] == FEATURES
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "mean |attribution| to the log-odds"
    widths, colors = lengths(wi.pl.pair_attribution(adata, cell_line="K562", n_top=2, show=False))
    assert (widths, colors) == ([0.8, 0.5], [lowers, raises])


def test_attributions_to_a_pair_are_signed_and_largest_first(adata):
    ax = wi.pl.pair_attribution(adata, "a", show=False)
    assert lengths(ax)[0] == [-2.0, 0.1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["DNase", "CTCF"]


def test_bases_of_a_pair_with_their_windows(sequences):
    ax = wi.pl.pair_attribution(sequences, "c", show=False)
    drawn = np.array([segment[1][1] for segment in ax.collections[0].get_segments()])
    np.testing.assert_array_equal(drawn, sequences.uns[KEY]["contributions"][1])
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
    assert spans == [(3.5, 7.5), (19.5, 23.5)]
    assert ax.get_ylabel() == "contribution to the score U"
    # of all pairs, the two ends
    assert len(wi.pl.pair_attribution(sequences, show=False).patches) == 3


def test_given_axes_and_bad_input(adata, sequences):
    ax = plt.subplots()[1]
    assert wi.pl.pair_attribution(adata, ax=ax, show=False) is ax
    with pytest.raises(KeyError, match=re.escape("run scwhatif.tl.pair_attribution(adata, model, key_added='other')")):
        wi.pl.pair_attribution(adata, key="other")
    with pytest.raises(KeyError, match="cell_line='HeLa' is not in"):
        wi.pl.pair_attribution(adata, cell_line="HeLa")
    with pytest.raises(KeyError, match="pair='b' has no contributions"):
        wi.pl.pair_attribution(sequences, "b")
    del adata.uns[KEY]["contributions"]
    for pair in ("c", "d"):
        with pytest.raises(KeyError, match=f"pair='{pair}' has no attributions"):
            wi.pl.pair_attribution(adata, pair)
