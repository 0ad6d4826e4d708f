from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import KBinsDiscretizer

from scwhatif.metrics._factors import read_factors
from scwhatif.metrics._mutual_information import bin_columns, entropy, information


def test_uniform_bins_are_those_of_sklearn():
    z = np.random.default_rng(0).normal(size=(200, 4))
    expected = KBinsDiscretizer(10, encode="ordinal", strategy="uniform").fit_transform(z)
    np.testing.assert_array_equal(bin_columns(z, 10, "uniform"), expected)


def test_quantile_bins_are_equally_full():
    z = np.random.default_rng(0).lognormal(size=(200, 2), sigma=3)
    for column in bin_columns(z, 10, "quantile").T:
        assert np.bincount(column).tolist() == [20] * 10


@pytest.mark.parametrize("binning", ["uniform", "quantile"])
def test_a_constant_column_has_one_bin(binning: str):
    assert np.ptp(bin_columns(np.full((9, 1), -3.7), 10, binning)) == 0


def test_ties_share_a_bin():
    z = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 2.0])[:, None]
    assert bin_columns(z, 3, "quantile")[:, 0].tolist() == [0, 0, 0, 1, 2, 2]


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=40), st.integers(2, 12))
def test_quantile_bins_depend_on_ranks_only(values: list[int], n_bins: int):
    z = np.array(values, dtype=float)[:, None]
    bins = bin_columns(z, n_bins, "quantile")
    np.testing.assert_array_equal(bins, bin_columns(np.exp(z / 10), n_bins, "quantile"))
    assert bins.min() >= 0
    assert bins.max() < n_bins


@pytest.mark.parametrize(("n_bins", "binning", "message"), [(1, "uniform", "at least 2"), (5, "kmeans", "'kmeans'")])
def test_bad_bins(n_bins: int, binning: str, message: str):
    with pytest.raises(ValueError, match=message):
        bin_columns(np.ones((3, 1)), n_bins, binning)


def test_entropy_is_that_of_scipy():
    counts = np.array([[1, 2, 3], [0, 5, 0]])
    np.testing.assert_allclose(entropy(counts), scipy_entropy(counts, axis=1))
    np.testing.assert_allclose(entropy(counts, axis=(0, 1)), scipy_entropy(counts.ravel()))


@pytest.mark.parametrize("binning", ["uniform", "quantile"])
def test_information_is_that_of_sklearn(binning: str):
    rng = np.random.default_rng(1)
    z = rng.normal(size=(300, 5))
    z[:, 4] = 2.0
    table = np.column_stack([np.digitize(z[:, 0] + rng.normal(size=300), [-1, 0, 1]), rng.integers(3, size=300)])
    factors = read_factors(table, 300) + read_factors(z[:, 1] + z[:, 2], 300)
    shared, entropies = information(z, factors, n_bins=6, binning=binning)
    bins = bin_columns(z, 6, binning)
    targets = [*table.T, bin_columns(factors[2].values[:, None], 6, binning)[:, 0]]
    expected = [[mutual_info_score(bins[:, i], target) for target in targets] for i in range(5)]
    np.testing.assert_allclose(shared, expected, atol=1e-12)
    assert (shared[4] == 0).all()
    np.testing.assert_allclose(entropies, [scipy_entropy(np.bincount(target)) for target in targets])
