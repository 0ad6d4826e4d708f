from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics import dci
from scwhatif.metrics._dci import entropy_scores

IMPORTANCE = np.array([[0.9, 0.05, 0.0], [0.05, 0.6, 0.1], [0.05, 0.3, 0.1], [0.0, 0.05, 0.8]])


def test_reference_values():
    per_dim, per_factor = entropy_scores(IMPORTANCE)
    # the formulas of disentanglement_lib (dci.py, commit 76f41e3), which add 1e-11 to every importance
    weight = IMPORTANCE.sum(axis=1) / IMPORTANCE.sum()
    assert per_dim @ weight == pytest.approx(0.6241530428808105, abs=1e-8)
    assert per_factor.mean() == pytest.approx(0.5189357443953363, abs=1e-8)


def test_known_importances():
    per_dim, per_factor = entropy_scores(np.array([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5], [0.0, 0.0]]))
    np.testing.assert_allclose(per_dim, [1, 1, 1, np.nan])
    np.testing.assert_allclose(per_factor, [1, 0.5])
    per_dim, per_factor = entropy_scores(np.array([[0.3], [0.7]]))
    assert np.isnan(per_dim).all()
    alone, told = entropy_scores(np.array([[1.0, 1.0]]))
    assert (alone.tolist(), told.tolist()) == ([0], [1, 1])


def one_per_category(n: int = 300, n_noise: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.choice(list("abc"), n)
    z = np.column_stack(
        [4 * pd.get_dummies(label).to_numpy() + 0.3 * rng.normal(size=(n, 3)), rng.normal(size=(n, n_noise))]
    )
    return pd.DataFrame(z, columns=[f"z{i}" for i in range(3 + n_noise)]), label


def test_one_dimension_per_category():
    z, label = one_per_category()
    scores = dci(z, label)
    assert scores.importance.idxmax().to_dict() == {"a": "z0", "b": "z1", "c": "z2"}
    np.testing.assert_allclose(scores.importance.sum(), 1)
    assert scores.mean_disentanglement > 0.95
    assert scores.mean_completeness > 0.95
    assert scores.mean_informativeness > 0.98


def test_rotation_spoils_disentanglement_and_completeness():
    rng = np.random.default_rng(1)
    factors = pd.DataFrame(rng.normal(size=(1000, 2)), columns=["a", "b"])
    rotated = factors.to_numpy() @ np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    straight, mixed = dci(factors, factors), dci(rotated, factors)
    assert straight.mean_disentanglement > 0.98
    assert straight.mean_completeness > 0.98
    assert straight.mean_informativeness > 0.98
    assert mixed.mean_disentanglement < 0.05
    assert mixed.mean_completeness < 0.05
    assert mixed.mean_informativeness > 0.8


def test_noise_is_worth_nothing_on_held_out_cells():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(600, 5))
    table = pd.DataFrame({"type": rng.choice(list("abc"), 600), "dose": rng.normal(size=600)})
    scores = dci(z, table, n_trees=5)
    assert scores.informativeness["type"] == pytest.approx(0, abs=0.1)
    assert scores.informativeness["dose"] < 0.05
    assert scores.mean_completeness < 0.2


def test_dead_dimensions():
    rng = np.random.default_rng(3)
    label = rng.choice(list("abc"), 90)
    dead = dci(np.ones((90, 2)), label, n_trees=2)
    assert (dead.importance == 0).all(axis=None)
    assert (dead.mean_disentanglement, dead.mean_completeness) == (0, 0)
    assert dead.mean_informativeness == pytest.approx(0, abs=0.05)
    z = np.column_stack([np.ones(90), label == "a", label == "b"])
    scores = dci(z, label, n_trees=2)
    assert (scores.importance.loc[0] == 0).all()
    assert np.isnan(scores.disentanglement[0])


def test_a_single_factor_has_no_disentanglement():
    scores = dci(np.column_stack([np.repeat([0.0, 1.0], 30), np.tile([0.0, 1.0], 30)]), ["a"] * 30 + ["b"] * 30)
    assert np.isnan(scores.mean_disentanglement)
    assert scores.mean_completeness == pytest.approx(1)
    assert scores.informativeness.to_dict() == {"b": 1.0}


def test_seeds_and_jobs():
    rng = np.random.default_rng(4)
    z, label = rng.normal(size=(60, 4)), rng.choice(list("abc"), 60)
    first = dci(z, label, n_trees=2, seed=5)
    for same in (dci(z, label, n_trees=2, seed=np.random.default_rng(5)), dci(z, label, n_trees=2, seed=5, n_jobs=2)):
        pd.testing.assert_frame_equal(first.importance, same.importance)
    assert not first.importance.equals(dci(z, label, n_trees=2, seed=6).importance)


def test_too_few_cells_to_hold_out():
    with pytest.raises(ValueError, match="fewer than 3 cells"):
        dci(np.arange(12.0)[:, None], ["a"] * 2 + ["b"] * 10)
