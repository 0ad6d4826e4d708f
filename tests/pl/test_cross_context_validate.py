from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scwhatif as wi

KEY = "cross_context_validate"


@pytest.fixture(scope="module")
def adata():
    adata = wi.datasets.simulate_pairs(2, 3, 15)
    wi.tl.cross_context_validate(adata, n_chrom_folds=3, baselines=["prevalence", "logistic"])
    return adata


@pytest.mark.parametrize("score", ["aupr", "calibration_intercept"])
def test_draws_what_the_table_holds(adata, score: str):
    ax = wi.pl.cross_context_validate(adata, score, show=False)
    result = adata.uns[KEY]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["prevalence", "logistic"]
    drawn = {line.get_label(): line for line in ax.lines}
    for name in ("line_0", "line_1"):
        of_line = result["table"][result["table"]["cell_line"] == name]
        np.testing.assert_array_equal(drawn[name].get_xdata(), of_line[score])
        np.testing.assert_array_equal(np.round(drawn[name].get_ydata()), [0, 1] * 3)
    summary = result["summary"].set_index(["method", "score"])
    diamonds = [line for line in ax.lines if line.get_marker() == "D"]
    for row, (method, diamond) in enumerate(zip(("prevalence", "logistic"), diamonds, strict=True)):
        assert diamond.get_xydata().tolist() == [[summary.loc[(method, score), "mean"], row]]
    intervals = [line.get_xdata() for line in ax.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2]
    np.testing.assert_allclose(intervals[1], summary.loc[("logistic", score), ["low", "high"]].to_numpy(float))
    assert len(intervals) == (3 if score == "calibration_intercept" else 2)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["line_0", "line_1"]
    plt.close(ax.figure)


def test_given_axes(adata):
    ax = plt.subplots()[1]
    assert wi.pl.cross_context_validate(adata, ax=ax, show=False) is ax
    plt.close(ax.figure)


def test_missing(adata):
    with pytest.raises(KeyError, match=r"run scwhatif.tl.cross_context_validate\(adata, key_added='other'\)"):
        wi.pl.cross_context_validate(adata, key="other")
    with pytest.raises(KeyError, match="score='auc' is not in"):
        wi.pl.cross_context_validate(adata, "auc")
