from __future__ import annotations

import math

import numpy as np
import pytest

import scwhatif as wi


def test_equals_numpy():
    z = np.random.default_rng(0).normal(size=(60, 4)) @ np.random.default_rng(1).normal(size=(4, 4)) + 100
    found = wi.metrics.latent_correlation(z)
    expected = np.corrcoef(z.T)
    np.testing.assert_allclose(found.matrix, expected, atol=1e-12)
    assert found.total_correlation == pytest.approx(-0.5 * math.log(np.linalg.det(expected)), rel=1e-9)
    assert found.largest == pytest.approx(max(abs(expected[i, j]) for i in range(4) for j in range(4) if i != j))


def test_two_dimensions_by_hand():
    """For two dimensions the total correlation is the mutual information -log(1 - r²) / 2, whatever their scale."""
    z = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]) * [1e-6, -1e6]
    found = wi.metrics.latent_correlation(z)
    assert found.matrix[0, 1] == pytest.approx(-1 / math.sqrt(3))
    assert found.total_correlation == pytest.approx(-0.5 * math.log(2 / 3))


def test_one_dimension_has_nothing_to_share():
    for z in (np.arange(3.0)[:, None], np.zeros((3, 0))):
        found = wi.metrics.latent_correlation(z)
        assert (found.largest, found.total_correlation) == (0.0, 0.0)


def test_linear_combinations_are_infinite():
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    assert wi.metrics.latent_correlation(np.column_stack([a, b, a + b])).total_correlation == np.inf
    assert wi.metrics.latent_correlation(np.column_stack([a, -a])).largest == pytest.approx(1)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.zeros(3), "at least two cells"),
        (np.zeros((1, 3)), "at least two cells"),
        (np.array([[0.0], [np.nan]]), "finite"),
        (np.array([[0.0, 1.0], [1.0, 1.0]]), r"\[1\] are constant"),
    ],
)
def test_bad_input(z: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        wi.metrics.latent_correlation(z)
