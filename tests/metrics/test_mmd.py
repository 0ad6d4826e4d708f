from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel

from scwhatif.metrics import _mmd, mmd


def naive(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    gamma = 1 / (2 * bandwidth**2)
    n, m = len(x), len(y)
    within = [(rbf_kernel(each, gamma=gamma).sum() - len(each)) / (len(each) * (len(each) - 1)) for each in (x, y)]
    return sum(within) - 2 * rbf_kernel(x, y, gamma=gamma).sum() / (n * m)


def samples(seed: int = 0, n: int = 30, m: int = 45) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)), rng.normal(size=(m, 4)) + 0.5


def test_equals_the_definition():
    x, y = samples()
    assert mmd(x, y, bandwidth=1.7) == pytest.approx(naive(x, y, 1.7), rel=1e-9)
    median = float(np.median(pdist(np.vstack([x, y]))))
    assert mmd(x, y) == pytest.approx(naive(x, y, median), rel=1e-9)
    assert mmd(sparse.csr_matrix(x), sparse.csr_matrix(y)) == pytest.approx(naive(x, y, median), rel=1e-9)


@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 10))
def test_symmetric_and_free_of_units_with_the_median(seed: int, scale: float):
    x, y = samples(seed, 8, 11)
    expected = mmd(x, y)
    assert mmd(y, x) == pytest.approx(expected, abs=1e-9)
    assert mmd(scale * x + 5, scale * y + 5) == pytest.approx(expected, abs=1e-7)
    assert expected <= 2


def test_many_cells_share_a_median_of_some(monkeypatch: pytest.MonkeyPatch):
    x, y = samples(n=60, m=180)
    exact = mmd(x, y)
    monkeypatch.setattr(_mmd, "_MEDIAN_CELLS", 80)
    assert mmd(x, y) == pytest.approx(exact, rel=0.05)
    assert mmd(x, y) == pytest.approx(mmd(y, x), rel=1e-9)


def test_sees_what_the_mean_does_not():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 2)), 2 * rng.normal(size=(300, 2))
    assert mmd(x, y) > 0.05
    assert abs(mmd(x[:150], x[150:])) < 0.01


def test_coinciding_cells():
    x = np.zeros((5, 2))
    with pytest.raises(ValueError, match="more than half of all cells coincide"):
        mmd(x, x)
    assert mmd(x, x, bandwidth=1.0) == pytest.approx(0)
    for bandwidth in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"bandwidth=.* must be above 0"):
            mmd(*samples(), bandwidth=bandwidth)


@pytest.mark.optional
def test_pertpy():
    pertpy = pytest.importorskip("pertpy", reason="pertpy is not installed", exc_type=ImportError)
    x, y = samples()
    theirs = pertpy.tl.Distance("mmd")(x, y, kernel="rbf", gamma=0.25)
    gamma = 0.25
    # less what each cell has in common with itself
    bias = sum((1 - (rbf_kernel(each, gamma=gamma).sum() - n) / (n * (n - 1))) / n for each, n in ((x, 30), (y, 45)))
    assert mmd(x, y, bandwidth=np.sqrt(2.0)) == pytest.approx(theirs - bias, rel=1e-6)
