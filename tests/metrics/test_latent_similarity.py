from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from scwhatif.metrics import (
    latent_matching_score,
    latent_similarity,
    most_similar_averaging_score,
    most_similar_gap_score,
)

METHODS = ("SMI", "SMI-quantile", "SPN", "ASC")
# What drvi-py 0.2.8 (drvi.utils.metrics) gives for the data of `example`, dimensions by categories, and its LMS, MSAS
# and MSGS of them.
DRVI = {
    "SMI": [
        [0.8902401248, 0.1413767383, 0.2480505427, 0.120747378],
        [0.2337532803, 0.7844074002, 0.5104165873, 0.1759722174],
        [0.2567490004, 0.0334274964, 0.2013095248, 0.0252808983],
    ],
    "SPN": [
        [1.0, 0.0476190476, 0.0406976744, 0.0],
        [0.1818181818, 1.0, 0.476744186, 0.0909090909],
        [0.0, 0.0476190476, 0.0, 0.0],
    ],
    "ASC": [
        [0.7660480892, 0.2589248532, 0.2979306738, 0.2309721894],
        [0.0326440947, 0.7501041884, 0.5969291995, 0.1034562932],
        [0.0174101838, 0.016668982, 0.0373748157, 0.0433072855],
    ],
}
DRVI_SCORES = {
    "SMI": [0.4689892625, 0.5902590824, 0.3985281676],
    "SPN": [0.5, 0.6419133192, 0.5743795933],
    "ASC": [0.3898648908, 0.5860134166, 0.4127744379],
}


def example() -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(60)
    label = np.array(list("abcd"))[(i * 7 % 11) % 4]
    z = np.column_stack(
        [
            np.sin(i * 1.3) + 2 * (label == "a"),
            np.cos(i * 0.7) * 1.5 + (label == "b") * 3 - (label == "c"),
            (i * 37 % 60) / 10.0,
        ]
    )
    return z, label


@pytest.mark.parametrize("method", DRVI)
def test_reference_values(method: str):
    z, label = example()
    similarity = latent_similarity(z, label, method=method)
    assert list(similarity.columns) == list("abcd")
    np.testing.assert_allclose(similarity, DRVI[method], atol=1e-9)
    scores = (latent_matching_score, most_similar_averaging_score, most_similar_gap_score)
    np.testing.assert_allclose([score(similarity) for score in scores], DRVI_SCORES[method], atol=1e-9)


@pytest.mark.parametrize("method", ["SMI", "SMI-quantile", "SPN"])
def test_separated_categories_are_one_and_constants_zero(method: str):
    label = np.repeat(list("abcde"), 40)
    z = np.column_stack([np.arange(200.0), np.full(200, 2.5)])
    similarity = latent_similarity(z, label, method=method)
    np.testing.assert_allclose(similarity.loc[0], 1)
    # also where the cells come sorted by category
    assert (similarity.loc[1] == 0).all()


def test_spearman_cannot_see_the_middle():
    similarity = latent_similarity(np.arange(150.0)[:, None], np.repeat(list("abc"), 50), method="ASC")
    assert similarity["b"].item() == pytest.approx(0, abs=1e-12)
    assert similarity["a"].item() == pytest.approx(0.8165, abs=1e-3)


def test_ties_count_as_all_their_orders():
    values, label = np.array([0, 0, 0, 1, 1, 2]), np.array(list("aabbab"))
    orders = [
        [*first, *second, 5] for first in permutations([0, 1, 2]) for second in permutations([3, 4])
    ]  # every order that respects the values
    for category in "ab":
        pairs = np.mean([sum(label[i] == label[j] == category for i, j in pairwise(o)) for o in orders])
        expected = max(pairs / 2 - 0.5, 0) / 0.5
        table = pd.DataFrame({"carried": label == category})
        assert latent_similarity(values[:, None], table, method="SPN").iloc[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_two_categories_would_repeat_each_other(method: str):
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=2000)
    z = rng.normal(size=(2000, 2)) + label[:, None] * [3, 0]
    one = latent_similarity(z, np.where(label, "stim", "ctrl"), method=method)
    other = latent_similarity(z, pd.DataFrame({"ctrl": label == 0}), method=method)
    assert list(one.columns) == ["stim"]
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_one_outlier_empties_equally_wide_bins():
    label = np.repeat(list("abcde"), 40)
    z = np.arange(200.0)[:, None]
    z[-1] = 1e6
    assert latent_similarity(z, label, method="SMI").max(axis=None) < 0.05
    assert latent_similarity(z, label, method="SMI-quantile").min(axis=None) == pytest.approx(1)


def test_continuous_factors():
    rng = np.random.default_rng(0)
    factors = pd.DataFrame(rng.normal(size=(1000, 2)), columns=["dose", "age"])
    z = np.column_stack([np.exp(factors["age"]), -factors["dose"], rng.normal(size=1000)])
    spearman = latent_similarity(z, factors, method="ASC")
    np.testing.assert_allclose(spearman, np.abs(spearmanr(z, factors).statistic[:3, 3:]), atol=1e-12)
    shared = latent_similarity(z, factors, method="SMI-quantile")
    np.testing.assert_allclose([shared.loc[1, "dose"], shared.loc[0, "age"]], 1)
    assert shared.loc[2].max() < 0.05
    with pytest.raises(ValueError, match="'dose' is continuous"):
        latent_similarity(z, factors, method="SPN")


def test_names_and_categories_of_tables():
    z, label = example()
    z = pd.DataFrame(z, columns=["z0", "z1", "z2"])
    table = pd.DataFrame({"type": label, "half": np.arange(60) >= 30})
    similarity = latent_similarity(z, table)
    assert list(similarity.index) == ["z0", "z1", "z2"]
    assert list(similarity.columns) == ["type=a", "type=b", "type=c", "type=d", "half"]
    np.testing.assert_allclose(similarity.iloc[:, :4], DRVI["SMI"], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**16))
def test_order_of_cells_and_dimensions_and_scale_are_irrelevant(method: str, seed: int):
    rng = np.random.default_rng(seed)
    # ties, too
    z, label = rng.normal(size=(40, 3)), rng.integers(3, size=40)
    z[:, 2] = np.round(z[:, 2])
    label[:6] = [0, 0, 1, 1, 2, 2]
    cells, dims = rng.permutation(40), rng.permutation(3)
    expected = latent_similarity(z, label, method=method)
    moved = latent_similarity((2.0 * z + 3.0)[cells][:, dims], label[cells], method=method)
    np.testing.assert_allclose(moved, expected.iloc[dims], atol=1e-9)
    assert ((expected >= 0) & (expected <= 1 + 1e-12)).all(axis=None)


@pytest.mark.parametrize("method", ["SMI-quantile", "SPN", "ASC"])
@given(seed=st.integers(0, 2**16))
def test_rank_measures_ignore_monotone_maps(method: str, seed: int):
    rng = np.random.default_rng(seed)
    z, label = rng.normal(size=(40, 2)), np.arange(40) % 3
    expected = latent_similarity(z, label, method=method)
    np.testing.assert_allclose(latent_similarity(np.exp(z), label, method=method), expected, atol=1e-12)
    np.testing.assert_allclose(latent_similarity(-z, label, method=method), expected, atol=1e-12)


def test_bad_method_and_bins():
    z, label = example()
    with pytest.raises(ValueError, match="method='MI' must be one of"):
        latent_similarity(z, label, method="MI")
    with pytest.raises(ValueError, match="n_bins=1"):
        latent_similarity(z, label, n_bins=1)
