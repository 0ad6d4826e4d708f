from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from scwhatif.metrics import _distance_test as module
from scwhatif.metrics import distance_test, e_distance, mmd


def samples(seed: int = 0, n: int = 12, m: int = 15, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + shift


def test_distances_are_those_of_their_functions():
    x, y = samples(shift=1.0)
    assert distance_test(x, y, n_permutations=1).distance == pytest.approx(e_distance(x, y))
    assert distance_test(x, y, distance="mmd", n_permutations=1).distance == pytest.approx(mmd(x, y))
    found = distance_test(x, y, distance="mmd", bandwidth=0.7, n_permutations=1).distance
    assert found == pytest.approx(mmd(x, y, bandwidth=0.7))


def test_counts_shuffles_at_least_as_far_apart(monkeypatch: pytest.MonkeyPatch):
    # shuffles replayed by hand, over several passes
    monkeypatch.setattr(module, "_CHUNK", 7)
    x, y = samples(shift=0.6)
    found = distance_test(x, y, n_permutations=50, seed=3)
    rng, values = np.random.default_rng(3), np.concatenate([x, y])
    columns = [rng.permuted(np.repeat([[1.0]] * 12 + [[0.0]] * 15, k, axis=1), axis=0) for k in [7] * 7 + [2]]
    splits = np.concatenate(columns, axis=1)[:, 1:].astype(bool)
    shuffled = [e_distance(values[split], values[~split]) for split in splits.T]
    assert len(shuffled) == 50
    assert found.pval == pytest.approx((1 + np.count_nonzero(np.array(shuffled) >= e_distance(x, y))) / 51)


@pytest.mark.parametrize("distance", ["e_distance", "mmd"])
def test_uniform_without_and_smallest_with_a_difference(distance: str):
    pvals = [distance_test(*samples(seed), distance=distance, n_permutations=99).pval for seed in range(150)]
    assert kstest(pvals, "uniform").pvalue > 0.01
    assert distance_test(*samples(shift=5.0), distance=distance, n_permutations=99).pval == 0.01


def test_samples_that_coincide_have_pvalue_one():
    x = np.ones((6, 2))
    assert distance_test(x, x, n_permutations=19).pval == 1
    assert distance_test(x, x, distance="mmd", bandwidth=1.0, n_permutations=19).pval == 1
    # every split of two against two of these four is as far apart as any other
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert distance_test(square[:2], square[2:], n_permutations=99).pval > 0.5


def test_seed():
    x, y = samples(shift=0.3)
    assert distance_test(x, y, seed=1) == distance_test(x, y, seed=np.random.default_rng(1))
    assert distance_test(x, y, seed=1).pval != distance_test(x, y, seed=2).pval


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"distance": "wasserstein"}, "distance='wasserstein' must be one of"),
        ({"n_permutations": 0}, "n_permutations=0 must be at least 1"),
        ({"bandwidth": 1.0}, "bandwidth=1.0 belongs to distance='mmd'"),
        ({"bandwidth": -1.0, "distance": "mmd"}, "must be above 0"),
    ],
)
def test_bad_input(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        distance_test(*samples(), **kwargs)
