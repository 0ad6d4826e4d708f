from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist, pdist

from scwhatif.metrics import e_distance


def naive(x: np.ndarray, y: np.ndarray) -> float:
    return 2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean()


def samples(seed: int = 0, n: int = 30, m: int = 45, shift: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 6)), rng.normal(size=(m, 6)) * 1.2 + shift


def test_equals_the_definition():
    x, y = samples()
    assert e_distance(x, y) == pytest.approx(naive(x, y), rel=1e-9)
    assert e_distance(x.astype(np.float32), y) == pytest.approx(naive(x, y), rel=1e-5)
    assert e_distance(sparse.csr_matrix(x), sparse.csc_matrix(y)) == pytest.approx(naive(x, y), rel=1e-9)
    assert e_distance(sparse.csr_matrix(x), y) == pytest.approx(naive(x, y), rel=1e-9)


@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 10))
def test_symmetric_and_moves_with_the_data(seed: int, scale: float):
    x, y = samples(seed, 8, 11)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    expected = e_distance(x, y)
    assert e_distance(y, x) == pytest.approx(expected, abs=1e-9)
    assert e_distance(scale * x @ turn + 3, scale * y @ turn + 3) == pytest.approx(scale * expected, abs=1e-8)


def test_unbiased_where_dividing_by_n_squared_is_not():
    rng = np.random.default_rng(0)
    plain, squared_n = [], []
    for _ in range(400):
        x, y = rng.normal(size=(5, 3)), rng.normal(size=(9, 3))
        plain.append(e_distance(x, y))
        squared_n.append(2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean())
        # what the other convention adds
        assert squared_n[-1] - plain[-1] == pytest.approx(pdist(x).mean() / 5 + pdist(y).mean() / 9)
    standard_error = np.std(plain) / np.sqrt(400)
    assert abs(np.mean(plain)) < 3 * standard_error
    assert min(plain) < 0
    assert np.mean(squared_n) > 10 * standard_error


@pytest.mark.optional
def test_pertpy():
    pertpy = pytest.importorskip("pertpy", reason="pertpy is not installed", exc_type=ImportError)
    x, y = samples()
    theirs = pertpy.tl.Distance("edistance")(x, y)
    both_n = theirs - pdist(x).mean() / len(x) - pdist(y).mean() / len(y)
    # either convention, by release
    assert any(e_distance(x, y) == pytest.approx(each, rel=1e-4) for each in (theirs, both_n))
