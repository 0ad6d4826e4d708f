from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from scwhatif.metrics import pearson_delta


def profiles(seed: int = 0, n: int = 6, n_genes: int = 40) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    genes = [f"g{j}" for j in range(n_genes)]
    control = pd.Series(rng.gamma(2, size=n_genes), genes)
    observed = pd.DataFrame(rng.normal(size=(n, n_genes)), list("ABCDEF")[:n], genes) + control
    return observed + rng.normal(size=observed.shape), observed, control


def test_equals_scipy():
    predicted, observed, control = profiles()
    found = pearson_delta(predicted.iloc[::-1], observed, control)
    expected = {p: pearsonr(predicted.loc[p] - control, observed.loc[p] - control).statistic for p in observed.index}
    pd.testing.assert_series_equal(found, pd.Series(expected))
    np.testing.assert_allclose(pearson_delta(predicted.to_numpy(), observed.to_numpy(), control.to_numpy()), found)


def test_masked():
    predicted, observed, control = profiles()
    mask = pd.DataFrame(np.random.default_rng(1).random(observed.shape) < 0.3, observed.index, observed.columns)
    found = pearson_delta(predicted, observed, control, mask=mask)
    for p, used in mask.iterrows():
        assert found[p] == pytest.approx(
            pearsonr((predicted.loc[p] - control)[used], (observed.loc[p] - control)[used]).statistic
        )
    np.testing.assert_array_equal(pearson_delta(predicted, observed, control, mask=0 * mask > 0), 0)
    with pytest.raises(ValueError, match="mask must be boolean"):
        pearson_delta(predicted, observed, control, mask=mask.astype(float))


@given(st.integers(0, 2**16), st.floats(0.1, 10), st.floats(-5, 5))
def test_size_and_level_of_effects_do_not_matter(seed: int, scale: float, level: float):
    predicted, observed, control = profiles(seed)
    found = pearson_delta(predicted, observed, control)
    np.testing.assert_allclose(pearson_delta(control + scale * (predicted - control) + level, observed, control), found)
    np.testing.assert_allclose(pearson_delta(control - (predicted - control), observed, control), -found)
    assert (found.abs() <= 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_change_is_zero_also_through_rounding(dtype: type):
    _, observed, control = profiles(n_genes=500)
    same = pd.DataFrame([control] * len(observed), index=observed.index).astype(dtype)
    # 0.1 cannot be represented, so that differences are rounding errors
    for unchanged in (same, same + dtype(0.1), (same * dtype(1.1)) / dtype(1.1)):
        assert (pearson_delta(unchanged, observed, control) == 0).all()
    assert (pearson_delta(observed, same, control) == 0).all()
    # an effect far below the noise of cells, but above that of numbers
    tiny = same + dtype(1e-3) * (observed - control).astype(dtype)
    np.testing.assert_allclose(pearson_delta(tiny, observed, control), 1, atol=1e-3)


def test_a_mean_that_leaves_out_the_tested_one_is_exactly_minus_one_from_the_mean_over_all():
    """Random profiles: the correlation is an identity, and says nothing."""
    _, observed, _ = profiles()
    others = (observed.sum() - observed) / (len(observed) - 1)
    np.testing.assert_allclose(pearson_delta(others, observed, observed.mean()), -1)
    # the same prediction from a mean that has not seen what is tested
    train, tested = observed.iloc[:4], observed.iloc[4:]
    mean = pd.DataFrame([train.mean()] * 2, index=tested.index)
    np.testing.assert_array_equal(pearson_delta(mean, tested, train.mean()), 0)


def test_what_all_share_is_credited_to_the_mean_from_the_control_only():
    rng = np.random.default_rng(0)
    control, shared = rng.normal(size=200), 3 * rng.normal(size=200)
    profiles = control + shared + rng.normal(size=(30, 200))
    mean = np.repeat(profiles[:20].mean(axis=0)[None], 10, axis=0)
    assert pearson_delta(mean, profiles[20:], control).mean() > 0.9
    assert (pearson_delta(mean, profiles[20:], profiles[:20].mean(axis=0)) == 0).all()
