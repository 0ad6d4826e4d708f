"""Nearness to each identity beside a loop."""

from __future__ import annotations

import numpy as np

from scwhatif.metrics._label_support import label_support


def test_equal_to_a_loop():
    rng = np.random.default_rng(0)
    z, codes = rng.normal(size=(80, 4)), rng.choice(5, size=80, p=[0.5, 0.3, 0.1, 0.09, 0.01])
    codes[codes == 4] = 0
    codes[7] = 4
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine = u @ u.T
    found = label_support(z, codes, 6, n_neighbours=9)
    for i in range(80):
        for identity in range(5):
            others = np.flatnonzero((codes == identity) & (np.arange(80) != i))
            expected = np.sort(cosine[i, others])[-9:].mean() if len(others) else np.nan
            np.testing.assert_allclose(found[i, identity], expected, atol=1e-5)
    assert np.isnan(found[:, 5]).all()
    assert np.isnan(found[7, 4])
