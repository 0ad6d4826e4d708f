from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, kstest, ortho_group

from scwhatif.metrics._label_clouds import LabelClouds


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Two Gaussian clouds of different shapes."""
    rng = np.random.default_rng(0)
    wide = rng.multivariate_normal([0, 0], [[4, 1.8], [1.8, 1]], 2000)
    round_ = rng.normal([10, 0], 0.5, (2000, 2))
    return np.r_[wide, round_], np.repeat([0, 1], 2000)


def test_distances_are_those_of_gaussians(cells: tuple):
    values, codes = cells
    clouds = LabelClouds.fit(values, codes, 2)
    np.testing.assert_allclose(clouds.centres, [[0, 0], [10, 0]], atol=0.15)
    own = clouds.squared_distances(values)[np.arange(4000), codes]
    for label in range(2):
        assert kstest(own[codes == label], chi2(2).cdf).pvalue > 0.001


def test_distances_do_not_depend_on_the_axes():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 300)
    values = rng.standard_t(5, size=(300, 4)) @ rng.normal(size=(4, 4)) + 3 * codes[:, None]
    values[:20] += 30
    rotation = ortho_group.rvs(4, random_state=0)
    before, after = LabelClouds.fit(values, codes, 3), LabelClouds.fit(values @ rotation, codes, 3)
    np.testing.assert_allclose(after.centres, before.centres @ rotation, atol=1e-9)
    np.testing.assert_allclose(
        after.squared_distances(values @ rotation), before.squared_distances(values), rtol=1e-9, atol=1e-9
    )


def test_a_tenth_of_far_cells_hardly_moves_it(cells: tuple):
    values, codes = cells
    spoilt = values.copy()
    spoilt[:200] = [30, -30]
    clean, found = LabelClouds.fit(values, codes, 2), LabelClouds.fit(spoilt, codes, 2)
    np.testing.assert_allclose(found.centres, clean.centres, atol=0.1)
    np.testing.assert_allclose(
        found.squared_distances(values[200:]), clean.squared_distances(values[200:]), rtol=0.5, atol=0.1
    )
    assert found.squared_distances(np.array([[30.0, -30.0]]))[0, 0] > 200


def test_few_cells_borrow_the_shape_of_the_others(cells: tuple):
    values, codes = cells
    few = np.r_[values, [[50.0, 50.0], [51.0, 50.0]]]
    clouds = LabelClouds.fit(few, np.r_[codes, [2, 2]], 3)
    np.testing.assert_allclose(clouds.centres[2], [50.5, 50])
    assert np.isfinite(clouds.whitening[2]).all()
    assert clouds.squared_distances(few[-2:])[:, 2].max() < 2


def test_dimensions_that_do_not_vary_within_a_label():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 50)
    values = np.c_[codes.astype(float), rng.normal(size=100)]
    squared = LabelClouds.fit(values, codes, 2).squared_distances(values)
    assert np.isfinite(squared).all()
    assert (squared.argmin(axis=1) == codes).all()
