from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics import modularity
from scwhatif.metrics._modularity import modularity_of


def test_reference_values():
    i = np.arange(120)
    f = np.column_stack([i % 3, (i // 3) % 4, (i * i) % 5])
    z = np.column_stack([f[:, 0] + 3 * (i % 2), f[:, 1], (f[:, 1] + f[:, 2]) % 5, (i * 7) % 10]).astype(float)
    # latte-metrics 0.0.1a6, modularity(z, f, discrete=True), with sklearn's mutual_info_score as its estimator
    expected = [0.800963823, 1.0, 0.930106741, 0.9985589796]
    np.testing.assert_allclose(modularity(z, f, binning="uniform"), expected, atol=1e-9)


def test_from_information():
    shared = np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(modularity_of(shared), [1, 0, 1 - 0.25 / 2, np.nan])


def test_mixing_two_factors_is_not_modular():
    rng = np.random.default_rng(0)
    factors = pd.DataFrame(rng.normal(size=(4000, 2)), columns=["a", "b"])
    z = pd.DataFrame({"pure": factors["a"], "mixed": factors["a"] + factors["b"], "dead": 1.0})
    scores = modularity(z, factors)
    assert scores["pure"] > 0.99
    assert scores["mixed"] < 0.15
    assert np.isnan(scores["dead"])


def test_a_single_factor():
    with pytest.raises(ValueError, match="at least two factors, not only 'stim'"):
        modularity([[1.0], [2.0], [3.0], [4.0]], ["ctrl", "stim"] * 2)
