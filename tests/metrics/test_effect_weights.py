from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from scipy.stats import false_discovery_control, ttest_ind

from scwhatif.metrics import effect_scores, effect_weights
from scwhatif.metrics._effect_weights import moments, read_cells


def cells(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.repeat(["A", "B", "C"], [20, 35, 11])
    x = rng.poisson(1.0, size=(66, 12)).astype(float)
    x[label == "A", 3] += 4
    x[:, 11] = 0
    return np.log1p(x), label


def test_equals_scanpy():
    x, label = cells()
    adata = ad.AnnData(x, obs=pd.DataFrame({"p": pd.Categorical(label)}, index=[str(i) for i in range(66)]))
    sc.tl.rank_genes_groups(adata, "p", method="t-test_overestim_var", reference="rest")
    found = effect_scores(x, label)
    for p in "ABC":
        table = sc.get.rank_genes_groups_df(adata, p).set_index("names")
        theirs = table.loc[[str(g) for g in range(12)]]
        np.testing.assert_allclose(found.t.loc[p], theirs["scores"].fillna(0), atol=1e-5)
        np.testing.assert_allclose(found.pval.loc[p], theirs["pvals_adj"].fillna(1), atol=1e-6)


def test_equally_many_others_are_welch():
    x, label = cells()
    half = np.r_[0:20, 20:40]
    found = effect_scores(x[half], label[half])
    t, pval = ttest_ind(x[:20, :11], x[20:40, :11], equal_var=False)
    np.testing.assert_allclose(found.t.loc["A"].iloc[:11], t)
    np.testing.assert_allclose(found.pval.loc["A"], false_discovery_control(np.r_[pval, 1.0]))
    np.testing.assert_allclose(found.t.loc["B"], -found.t.loc["A"])


def test_sparse_and_tables():
    x, label = cells()
    expected = effect_scores(x, label)
    for kind in (sparse.csr_matrix, sparse.csc_matrix):
        pd.testing.assert_frame_equal(effect_scores(kind(x), label).t, expected.t)
    named = effect_scores(pd.DataFrame(x, columns=list("abcdefghijkl")), pd.Categorical(label, list("CBAD")))
    assert list(named.t.columns) == list("abcdefghijkl")
    assert list(named.t.index) == list("CBA")
    np.testing.assert_allclose(named.t.loc[list("ABC")], expected.t)


def test_weights():
    x, label = cells()
    scores = effect_scores(x, label).t
    weights = effect_weights(scores)
    size = scores.loc["A"].abs()
    expected = ((size - size.min()) / (size.max() - size.min())) ** 2
    pd.testing.assert_series_equal(weights.loc["A"], expected / expected.sum(), check_names=False)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    # the planted gene has most of the weight
    assert weights.loc["A"].idxmax() == 3
    assert weights.loc["A", 3] > 0.5
    np.testing.assert_allclose(effect_weights([[2.0, -2.0], [0.0, 0.0]]), 0.5)


def test_moments_of_some_cells():
    x, label = cells()
    values, names, codes, _ = read_cells(x, label)
    codes = np.where(np.arange(66) % 2, codes, -1)
    found = moments(values, codes, len(names))
    for k, name in enumerate(names):
        used = x[(label == name) & (np.arange(66) % 2 == 1)]
        assert found.n[k] == len(used)
        np.testing.assert_allclose(found.mean[k], used.mean(axis=0))
        np.testing.assert_allclose(found.variance[k], used.var(axis=0, ddof=1), atol=1e-12)


@pytest.mark.parametrize(
    ("x", "label", "message"),
    [
        (np.ones((4, 2)), ["A"] * 4, "at least two perturbations, not only 'A'"),
        (np.ones((4, 2)), list("AAAB"), "perturbation 'B' has a single cell"),
        (np.ones((4, 2)), list("AAB"), r"for 3 labels, not \(4, 2\)"),
        (np.full((4, 2), np.nan), list("AABB"), "must not be missing or infinite"),
        (np.ones((4, 2)), ["A", "A", None, "B"], "must not be missing or infinite"),
    ],
)
def test_bad_input(x: np.ndarray, label: list, message: str):
    with pytest.raises(ValueError, match=message):
        effect_scores(x, label)
