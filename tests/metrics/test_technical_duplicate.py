from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scwhatif.metrics import effect_scores, interpolated_duplicate, technical_duplicate
from scwhatif.metrics._technical_duplicate import check_cells_suffice, split_halves

LABEL = np.repeat(["A", "B", "C"], [10, 13, 8])


def cells(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(31, 6)) + (LABEL == "A")[:, None] * np.arange(6)


def test_halves_are_disjoint_and_make_the_whole():
    x = cells()
    halves = technical_duplicate(x, LABEL, seed=4)
    n = np.array([10, 13, 8])[:, None]
    whole = pd.DataFrame(x).groupby(LABEL).sum()
    np.testing.assert_allclose(halves.duplicate * (n // 2) + halves.observed * (n - n // 2), whole)
    assert list(halves.duplicate.index) == ["A", "B", "C"]
    assert not np.allclose(halves.duplicate, halves.observed)


def test_scores_are_of_one_half_against_all_others():
    x = cells()
    halves = technical_duplicate(x, LABEL, seed=4)
    codes = pd.Categorical(LABEL).codes.astype(np.int64)
    half = split_halves(codes, np.random.default_rng(4))
    for which, table in ((1, "t"), (0, "pval")):
        used = (LABEL != "B") | (half == which)
        expected = getattr(effect_scores(x[used], np.where(LABEL == "B", "B", "rest")[used]), table).loc["B"]
        np.testing.assert_allclose(getattr(halves, table).loc["B"], expected)


def test_halves_are_balanced_and_random():
    codes = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 13, 4]))
    together = np.zeros((27, 27))
    rng = np.random.default_rng(1)
    for _ in range(300):
        half = split_halves(codes, rng)
        assert [np.count_nonzero(half[codes == k] == 0) for k in range(3)] == [5, 6, 2]
        together += half[:, None] == half
    # any two of ten cells share a half as often as chance has it
    ten = together[np.ix_(codes == 0, codes == 0)][np.triu_indices(10, 1)] / 300
    np.testing.assert_allclose(ten, 4 / 9, atol=0.12)


def test_sparse_tables_and_seeds():
    x = cells()
    first = technical_duplicate(x, LABEL, seed=1)
    for given in (sparse.csr_matrix(x), pd.DataFrame(x)):
        for mine, theirs in zip(technical_duplicate(given, LABEL, seed=np.random.default_rng(1)), first, strict=True):
            pd.testing.assert_frame_equal(mine, theirs)
    assert not first.duplicate.equals(technical_duplicate(x, LABEL, seed=2).duplicate)


def test_a_single_perturbation_has_no_others():
    halves = technical_duplicate(cells()[:10], LABEL[:10])
    assert (halves.t == 0).all(axis=None)
    assert (halves.pval == 1).all(axis=None)


def test_interpolation():
    halves = technical_duplicate(cells(), LABEL)
    mean = np.arange(6.0)
    found = interpolated_duplicate(halves.duplicate, mean, halves.pval)
    expected = (1 - halves.pval) * halves.duplicate + halves.pval * mean
    pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(interpolated_duplicate(halves.duplicate, mean, 0 * halves.pval), halves.duplicate)
    # what sets A apart is kept, what does not is taken from the mean
    assert found.loc["A", 5] == pytest.approx(halves.duplicate.loc["A", 5], abs=1e-3)


@pytest.mark.parametrize("few", [1, 3])
def test_too_few_cells(few: int):
    keep = (LABEL != "C") | (np.cumsum(LABEL == "C") <= few)
    with pytest.raises(ValueError, match=rf"perturbation 'C' has {few} cell\(s\); at least 4 make two halves"):
        technical_duplicate(cells()[keep], LABEL[keep])
    check_cells_suffice(np.repeat([0, 1], 4), ["A", "B"])


def test_bad_pvalues():
    table = pd.DataFrame([[0.5, 1.5]])
    with pytest.raises(ValueError, match=r"pval must lie in \[0, 1\], not in \[0.5, 1.5\]"):
        interpolated_duplicate(table, [0.0, 0.0], table)
