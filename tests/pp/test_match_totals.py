"""Copies come to one total by drawing molecules without replacement."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from scwhatif.pp._match_totals import match_totals


def rngs(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, i]) for i in range(n)]


@given(seed=st.integers(0, 2**32), n_copies=st.integers(1, 4))
@settings(deadline=None)
def test_totals_are_the_smallest_and_nothing_is_added(seed: int, n_copies: int):
    rng = np.random.default_rng(seed)
    dense = [rng.poisson(1.5, (6, 5)).astype(np.float32) for _ in range(n_copies)]
    copies = [sparse.csr_matrix(each) for each in dense]
    matched, target = match_totals(copies, rngs(n_copies))
    np.testing.assert_array_equal(target, np.min([each.sum(1) for each in dense], axis=0))
    for before, after in zip(dense, matched, strict=True):
        np.testing.assert_array_equal(np.asarray(after.sum(1)).ravel(), target)
        assert (after.toarray() <= before).all()
        assert after.dtype == np.float32
        assert (after.data > 0).all()
        smallest = before.sum(1) == target
        np.testing.assert_array_equal(after.toarray()[smallest], before[smallest])
    for before, copy in zip(dense, copies, strict=True):
        np.testing.assert_array_equal(copy.toarray(), before)


def test_draws_are_hypergeometric():
    n = 5000
    large = sparse.csr_matrix(np.tile([6.0, 3.0, 1.0], (n, 1)))
    small = sparse.csr_matrix(np.tile([4.0, 0.0, 0.0], (n, 1)))
    drawn = match_totals([large, small], rngs(2))[0][0].toarray()
    for gene, count in enumerate([6, 3, 1]):
        expected = stats.hypergeom(10, count, 4).pmf(np.arange(5))
        observed = np.bincount(drawn[:, gene].astype(int), minlength=5)
        possible = expected > 0
        assert observed[~possible].sum() == 0
        assert stats.chisquare(observed[possible], n * expected[possible]).pvalue > 1e-3


def test_totals_beyond_float32():
    large, small = (sparse.csr_matrix(np.array([[2.0**24, each]], dtype=np.float32)) for each in (3, 1))
    matched, target = match_totals([large, small], rngs(2))
    assert target.tolist() == [2**24 + 1]
    assert matched[0].data.astype(np.int64).sum() == 2**24 + 1
