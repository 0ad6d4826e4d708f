from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scwhatif.metrics import latent_similarity, mig, most_similar_gap_score


def coded_example() -> tuple[np.ndarray, np.ndarray]:
    """Dimensions and factors that are whole numbers, so that every library sees the same bins."""
    i = np.arange(120)
    f = np.column_stack([i % 3, (i // 3) % 4, (i * i) % 5])
    z = np.column_stack([f[:, 0] + 3 * (i % 2), f[:, 1], (f[:, 1] + f[:, 2]) % 5, (i * 7) % 10])
    return z.astype(float), f


def test_reference_values():
    # latte-metrics 0.0.1a6, mig(z, f, discrete=True), with sklearn's mutual_info_score as its estimator
    np.testing.assert_allclose(mig(*coded_example(), binning="uniform"), [1.0, 0.5, 0.8124252399], atol=1e-9)


def test_rotation_mixes_independent_gaussians():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(5000, 2))
    angle = np.pi / 4
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert mig(factors, factors).min() > 0.99
    assert mig(factors @ rotation, factors).max() < 0.02


def test_a_copy_closes_the_gap_and_constants_do_not_count():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=500)
    assert mig(np.column_stack([factor, np.ones(500)]), factor).item() == pytest.approx(1)
    assert mig(np.column_stack([factor, factor**3]), factor).item() == 0
    assert mig(factor[:, None], factor).item() == pytest.approx(1)
    assert mig(np.ones((500, 3)), factor).item() == 0


def test_of_categories_is_the_gap_of_similarities():
    rng = np.random.default_rng(2)
    label = rng.choice(list("abc"), 200)
    z = rng.normal(size=(200, 4)) + 2 * pd.get_dummies(label).to_numpy() @ np.eye(3, 4)
    similarity = latent_similarity(z, label, method="SMI-quantile")
    gaps = mig(z, label)
    assert list(gaps.index) == list("abc")
    assert gaps.mean() == pytest.approx(most_similar_gap_score(similarity))


@given(seed=st.integers(0, 2**16))
def test_permutation_sign_and_monotone_maps(seed: int):
    rng = np.random.default_rng(seed)
    # a multiple of twice the number of bins: otherwise the middle cells of a bin change sides with the sign
    factors = rng.normal(size=(60, 2))
    z = factors @ rng.normal(size=(2, 3)) + rng.normal(size=(60, 3))
    expected = mig(z, factors)
    np.testing.assert_allclose(mig(np.exp(-z[:, rng.permutation(3)]), factors**3), expected, atol=1e-12)
    assert ((expected >= 0) & (expected <= 1)).all()


def test_bad_input():
    with pytest.raises(ValueError, match="n_bins=0"):
        mig([[1.0], [2.0], [3.0], [4.0]], list("aabb"), n_bins=0)
    with pytest.raises(ValueError, match="'a'"):
        mig([[1.0], [2.0]], ["a", "a"])
