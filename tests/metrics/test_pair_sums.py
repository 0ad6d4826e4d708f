from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scwhatif.metrics import _pair_sums
from scwhatif.metrics._pair_sums import mean_excess, pair_sums, pooled


def naive(values: np.ndarray, in_x: np.ndarray) -> list[float]:
    sums = [0.0, 0.0, 0.0]
    for i in range(len(values)):
        for j in range(i):
            distance = np.linalg.norm(values[i] - values[j])
            sums[0 if in_x[i] and in_x[j] else 1 if not (in_x[i] or in_x[j]) else 2] += distance
    return sums


@pytest.mark.parametrize("block", [1, 40, 200, 2**22])
def test_sums_over_pairs_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_pair_sums, "_BLOCK_ENTRIES", block)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(19, 4))
    in_x = (rng.random((19, 3)) < 0.4).astype(float)
    for given in (values, sparse.csr_matrix(values)):
        sums = pair_sums(given, np.sqrt, in_x)
        np.testing.assert_allclose(np.array(sums).T, [naive(values, column) for column in in_x.T], rtol=1e-9)


def test_a_pair_is_never_paired_with_itself():
    # a kernel that is 1 at distance 0 counts pairs
    sums = pair_sums(np.zeros((7, 2)), np.ones_like, np.array([[1.0] * 3 + [0.0] * 4]).T)
    assert [each.item() for each in sums] == [3, 6, 12]
    np.testing.assert_allclose(mean_excess(sums, 3, 4), 0, atol=1e-15)


def test_centred_so_that_far_from_the_origin_nothing_is_lost():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), rng.normal(size=(8, 3))
    here, there = pooled(x, y), pooled(x + 1e6, y + 1e6)
    np.testing.assert_allclose(
        pair_sums(there.values, np.sqrt, there.in_x), pair_sums(here.values, np.sqrt, here.in_x), rtol=1e-8
    )
    assert (here.n_x, here.n_y) == (10, 8)
    assert here.in_x.sum() == 10


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((1, 2)), np.ones((3, 2)), "x must have shape"),
        (np.ones((3, 2)), np.ones(3), "y must have shape"),
        (np.ones((3, 2)), np.ones((3, 4)), "same dimensions, not 2 and 4"),
        (np.ones((3, 2)), np.full((3, 2), np.nan), "y holds NaN"),
        (sparse.csr_matrix([[np.inf], [1.0]]), np.ones((3, 1)), "x holds NaN or infinite"),
    ],
)
def test_bad_input(x: object, y: object, message: str):
    with pytest.raises(ValueError, match=message):
        pooled(x, y)
