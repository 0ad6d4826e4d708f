from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.metrics._label_clouds import LabelClouds

N_CELLS, N_DIMS, N_PLANTED = 400, 4, 12


def cells(seed: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, N_CELLS)
    noise = rng.normal(size=(N_CELLS, N_DIMS))
    if kind == "heavy":
        noise /= np.sqrt(rng.chisquare(5, size=(N_CELLS, 1)) / 5)
    return noise @ rng.normal(size=(N_DIMS, N_DIMS)) + 3 * labels[:, None], labels


def plant(values: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move some cells eight standard deviations out, each in a direction of its own."""
    planted = np.zeros(len(labels), dtype=bool)
    planted[rng.choice(len(labels), N_PLANTED, replace=False)] = True
    clouds = LabelClouds.fit(values, labels, 3)
    for i in np.flatnonzero(planted):
        direction = rng.normal(size=N_DIMS)
        direction *= 8 / np.linalg.norm(direction)
        values[i] = clouds.centres[labels[i]] + np.linalg.solve(clouds.whitening[labels[i]].T, direction)
    return planted


def test_planted_outliers_are_found():
    recall, false = [], []
    for seed in range(20):
        values, labels = cells(seed, "gaussian")
        planted = plant(values, labels, np.random.default_rng(1000 + seed))
        called = (wi.metrics.mahalanobis_outliers(values, labels)["padj"] < 0.05).to_numpy()
        recall.append(called[planted].mean())
        false.append(called[~planted].mean())
    assert min(recall) >= 0.9
    assert max(false) <= 0.01


@pytest.mark.parametrize("kind", ["gaussian", "heavy"])
def test_few_are_called_where_there_are_none(kind: str):
    called = [(wi.metrics.mahalanobis_outliers(*cells(seed, kind))["padj"] < 0.05).mean() for seed in range(30)]
    assert np.mean(called) <= 0.01
    assert np.median(called) == 0


def test_one_dimension_and_a_constant_one():
    rng = np.random.default_rng(0)
    values = np.c_[rng.normal(size=100), np.zeros(100)]
    values[7, 0] = 30
    labels = np.repeat(["a", "b"], 50)
    for given in (values[:, :1], values):
        found = wi.metrics.mahalanobis_outliers(given, labels)
        assert np.flatnonzero(found["padj"] < 0.05).tolist() == [7]
    # more than half of the cells are one point
    assert (wi.metrics.mahalanobis_outliers(np.zeros((10, 1)), labels[45:55])["pval"] == 1).all()
