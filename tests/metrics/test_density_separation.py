from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gaussian_kde, norm

import scwhatif as wi
from scwhatif.metrics._density_separation import label_densities


def test_densities_equal_those_of_scipy():
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(size=80), rng.gamma(2, 2, size=150)]
    codes = np.repeat([0, 1], [80, 150])
    grid, mass = label_densities(values, codes, 2)
    step = grid[1] - grid[0]
    for label in range(2):
        expected = gaussian_kde(values[codes == label], "scott")(grid)
        np.testing.assert_allclose(mass[label] / step, expected, atol=0.01 * expected.max())
    np.testing.assert_allclose(mass.sum(axis=1), 1)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0, 8.0])
def test_equals_the_formula_for_two_gaussians(shift: float):
    """The overlap of N(0, 1) and N(δ, 1) is 2 Φ(-δ/2); quantiles stand for samples, so only the bandwidth blurs."""
    z = norm.ppf((np.arange(4000) + 0.5) / 4000)
    found = wi.metrics.density_separation(np.r_[z, z + shift][:, None], np.repeat(["a", "b"], 4000))
    # the kernel adds its variance to each
    blurred = np.sqrt(1 + 4000**-0.4)
    assert found.loc[0, "a"] == pytest.approx(1 - 2 * norm.cdf(-shift / 2 / blurred), abs=0.003)
    assert found.loc[0, "a"] == pytest.approx(found.loc[0, "b"])


def test_sees_what_ranks_do_not():
    rng = np.random.default_rng(0)
    z = np.r_[rng.normal(size=200), rng.normal(-6, 1, 100), rng.normal(6, 1, 100)][:, None]
    labels = np.repeat(["middle", "ends"], 200)
    assert wi.metrics.density_separation(z, labels).loc[0, "middle"] > 0.9
    assert wi.metrics.one_vs_rest_auc(z, labels).loc[0, "middle"] == pytest.approx(0.5, abs=0.05)


def test_pairs_and_the_rest():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 100)
    values = pd.DataFrame({"u": rng.normal(size=300) + 10 * (labels == "c"), "flat": np.ones(300)})
    pairs = wi.metrics.density_separation(values, labels, pairwise=True)
    assert list(pairs.columns) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs.loc["u", ("a", "c")] > 0.99
    assert pairs.loc["u", ("a", "b")] < 0.2
    rest = wi.metrics.density_separation(values, labels)
    # half of the rest of a coincides with it
    assert rest.loc["u", "a"] == pytest.approx(0.5 + pairs.loc["u", ("a", "b")] / 2, abs=0.1)
    assert (rest.loc["flat"] == 0).all()
    assert wi.metrics.density_separation([[0.0], [0.0], [1.0], [1.0]], ["a", "a", "b", "b"]).loc[0, "a"] == 1
