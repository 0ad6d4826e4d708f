from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scwhatif as wi


@pytest.fixture(scope="module")
def adata():
    adata = wi.datasets.simulate_pairs(2, 3, 15)
    wi.tl.cross_context_validate(adata, n_chrom_folds=3, baselines=["logistic", "logistic_rank"])
    return adata


@pytest.mark.parametrize(("method", "drawn"), [(None, "logistic_rank"), ("logistic", "logistic")])
def test_draws_the_bins(adata, method: str | None, drawn: str):
    ax = wi.pl.reliability(adata, method, show=False)
    assert ax.get_title() == drawn
    bins = adata.uns["cross_context_validate"]["reliability"]
    for line in ax.lines[1:]:
        of_line = bins[(bins["method"] == drawn) & (bins["cell_line"] == line.get_label())]
        np.testing.assert_array_equal(line.get_xydata(), of_line[["predicted", "observed"]])
    assert [line.get_label() for line in ax.lines[1:]] == ["line_0", "line_1"]
    diagonal = ax.lines[0].get_xydata()
    np.testing.assert_array_equal(diagonal[:, 0], diagonal[:, 1])
    assert diagonal.max() > bins.loc[bins["method"] == drawn, ["predicted", "observed"]].to_numpy().max()
    plt.close(ax.figure)


def test_missing(adata):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.cross_context_validate\(adata, key_added='other'\)"):
        wi.pl.reliability(adata, key="other")
    with pytest.raises(KeyError, match="method='CellLineEnergyModel' is not in"):
        wi.pl.reliability(adata, "CellLineEnergyModel")
