from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from scwhatif.metrics import one_vs_rest_auc
from scwhatif.metrics._auc import auc_of_ranks, column_auc, folded


@pytest.mark.parametrize("ties", [False, True])
def test_equals_sklearn(ties: bool):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(80, 6))
    if ties:
        values = np.round(values)
    labels = rng.choice(["a", "b", "c"], size=80)
    auc = one_vs_rest_auc(values, labels)
    expected = [[roc_auc_score(labels == label, values[:, dim]) for label in "abc"] for dim in range(6)]
    assert list(auc.columns) == ["a", "b", "c"]
    np.testing.assert_allclose(auc, expected, rtol=0, atol=1e-12)


def test_perfect_reversed_and_constant():
    auc = one_vs_rest_auc([[0, 5, 7], [1, 4, 7], [2, 3, 7], [3, 2, 7]], ["x", "x", "y", "y"])
    assert auc["y"].tolist() == [1.0, 0.0, 0.5]
    assert auc["x"].tolist() == [0.0, 1.0, 0.5]


def test_names_and_unused_categories():
    values = pd.DataFrame({"left": [1.0, 2.0, 3.0], "right": [3.0, 2.0, 1.0]})
    auc = one_vs_rest_auc(values, pd.Categorical(["b", "b", "a"], categories=["b", "unused", "a"]))
    assert list(auc.index) == ["left", "right"]
    assert list(auc.columns) == ["b", "a"]


def test_invariant_under_monotone_maps():
    rng = np.random.default_rng(1)
    values, labels = rng.normal(size=(40, 3)), rng.integers(2, size=40)
    pd.testing.assert_frame_equal(one_vs_rest_auc(values, labels), one_vs_rest_auc(np.exp(3 * values), labels))


def test_a_permutation_needs_no_new_ranks():
    rng = np.random.default_rng(2)
    values, codes = np.round(rng.normal(size=(50, 4)), 1), np.arange(50) % 3
    shuffled = rng.permutation(codes)
    np.testing.assert_array_equal(
        auc_of_ranks(rankdata(values, axis=0), shuffled, 3), one_vs_rest_auc(values, shuffled).to_numpy()
    )


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        ([[1.0], [2.0]], ["a", "a"], "at least two distinct"),
        ([[1.0], [2.0], [3.0]], ["a", "b"], "for 2 labels"),
        ([1.0, 2.0], ["a", "b"], "shape"),
        ([[1.0], [np.nan]], ["a", "b"], "missing"),
        ([[1.0], [2.0], [3.0]], ["a", "b", None], "missing"),
    ],
)
def test_bad_input(values: list, labels: list, message: str):
    with pytest.raises(ValueError, match=message):
        one_vs_rest_auc(values, labels)


@pytest.mark.parametrize("sign", [1, -1])
def test_sparse_columns_are_ranked_without_their_zeros(sign: int):
    rng = np.random.default_rng(0)
    dense = rng.poisson(0.5, (40, 7)).astype(float)
    dense[:, 3] = 0
    dense[:, 4] *= rng.choice([-1, 1], 40)
    stored = sparse.csc_matrix(sign * dense)
    # a zero that is stored is a zero all the same
    stored.data[stored.indptr[1]] = 0
    dense[stored.indices[stored.indptr[1]], 1] = 0
    codes = rng.integers(0, 3, 40)
    np.testing.assert_allclose(column_auc(stored, codes, 3), column_auc(sign * dense, codes, 3), atol=1e-12)


def test_folding():
    np.testing.assert_allclose(folded(np.array([0.0, 0.3, 0.5, 0.9])), [1.0, 0.7, 0.5, 0.9])
