"""What the plot of retrieval draws."""

from __future__ import annotations

import pytest

import scwhatif as wi


def test_points_intervals_and_chance():
    adata = wi.datasets.simulate_factors(150, 40, 4, n_cell_types=3, n_batches=2, seed=0)
    wi.tl.rank_retrieval(adata, identity_key="cell_type", use_rep="true_factors", n_permutations=0, ks=(3, 5))
    summary = adata.uns["rank_retrieval"]["summary"]
    ax = wi.pl.rank_retrieval(adata, show=False)
    bars, points = ax.lines[0:4:2], ax.lines[1:4:2]
    for bar, point, (_, row) in zip(bars, points, summary.iloc[:2].iterrows(), strict=True):
        assert list(bar.get_xdata()) == [row["low"], row["high"]]
        assert point.get_xdata()[0] == row["map"]
    assert ax.lines[4].get_xdata()[0] == summary["map"].iloc[2]
    texts = [text.get_text() for text in ax.texts]
    assert f"{summary['rank@3'].iloc[0]:.2f}" in texts
    assert "Rank@3" in texts
    assert ax.get_title(loc="left").startswith("150 queries of 3 identities")


def test_nothing_to_draw():
    adata = wi.datasets.simulate_factors(20, 10, 4, seed=0)
    with pytest.raises(KeyError, match=r"tl\.rank_retrieval\(adata, identity_key=…, key_added='other'\)"):
        wi.pl.rank_retrieval(adata, key="other")
