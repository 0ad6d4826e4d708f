from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi


@pytest.mark.parametrize(
    ("n_active", "n_dims", "verdict"),
    [
        (0, 1, "total_collapse"),
        (1, 1, "healthy"),
        (0, 6, "total_collapse"),
        (1, 6, "partial_collapse"),
        (2, 6, "partial_collapse"),
        (3, 6, "healthy"),
        (3, 7, "partial_collapse"),
        (6, 6, "healthy"),
    ],
)
def test_verdict(n_active: int, n_dims: int, verdict: str):
    assert wi.metrics.posterior_collapse(np.arange(n_dims) < n_active) == verdict


@pytest.mark.parametrize("active", [[], [0.2, 3.0], [[True]], True])
def test_bad_input(active: object):
    with pytest.raises(ValueError, match="one truth value per dimension"):
        wi.metrics.posterior_collapse(active)
