from __future__ import annotations

import numpy as np
import pytest

from scwhatif.tl import _training_cloud
from scwhatif.tl._training_cloud import TrainingCloud


@pytest.fixture
def z() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(300, 3)), rng.normal([12, 0, 0], 1, size=(300, 3))])


def test_distances_equal_a_naive_search(z: np.ndarray):
    cloud = TrainingCloud.fit(z)
    apart = np.linalg.norm(z[:, None] - z[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(cloud.distances(z, np.arange(len(z))), np.sort(apart, axis=1)[:, :15].mean(axis=1))
    assert cloud.threshold == pytest.approx(np.quantile(np.sort(apart, axis=1)[:, :15].mean(axis=1), 0.995))


def test_a_moved_cell_does_not_count_itself_as_neighbour(z: np.ndarray):
    cloud = TrainingCloud.fit(z)
    moved = z[:5] + 0.01
    apart = np.linalg.norm(moved[:, None] - z[None], axis=2)
    apart[np.arange(5), np.arange(5)] = np.inf
    np.testing.assert_allclose(cloud.distances(moved, np.arange(5)), np.sort(apart, axis=1)[:, :15].mean(axis=1))
    assert (cloud.distances(moved) < cloud.distances(moved, np.arange(5))).all()


def test_gaps_between_clusters_and_places_beyond_are_outside(z: np.ndarray):
    cloud = TrainingCloud.fit(z)
    np.testing.assert_array_equal(cloud.outside(np.array([[0, 0, 0], [6, 0, 0], [12, 0, 0], [0, 9, 0]])), [0, 1, 0, 1])
    assert cloud.outside(z, np.arange(len(z))).mean() == pytest.approx(0.005, abs=0.002)


def test_many_cells_are_thinned_out_by_seed(z: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_training_cloud, "_MAX_CELLS", 200)
    first, again, other = (TrainingCloud.fit(z, seed) for seed in (0, 0, 1))
    assert len(first.cells) == 200
    assert first.threshold == again.threshold != other.threshold
    assert cloud_agrees(first, z)


def cloud_agrees(cloud: TrainingCloud, z: np.ndarray) -> bool:
    """Cells left out of the index have no self to leave out."""
    left_out = np.setdiff1d(np.arange(len(z)), cloud.cells)
    return bool(np.isfinite(cloud.distances(z[left_out], left_out)).all())


def test_few_cells_and_none():
    cloud = TrainingCloud.fit(np.eye(4))
    np.testing.assert_allclose(cloud.distances(np.eye(4), np.arange(4)), np.sqrt(2))
    assert cloud.distances(np.zeros((0, 4))).shape == (0,)
