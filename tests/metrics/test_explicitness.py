from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics import explicitness
from scwhatif.metrics._explicitness import split_cells
from scwhatif.metrics._factors import read_factors


def test_what_a_linear_model_can_tell_is_explicit_whatever_the_axes():
    rng = np.random.default_rng(0)
    label = rng.choice(list("abc"), 300)
    z = 6 * pd.get_dummies(label).to_numpy() + rng.normal(size=(300, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for each in (z, z @ rotation):
        scores = explicitness(each, label)
        assert list(scores.index) == list("abc")
        assert scores.min() > 0.99


def test_chance_is_zero():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(900, 4))
    table = pd.DataFrame({"type": rng.choice(list("abc"), 900), "dose": rng.normal(size=900)})
    assert explicitness(z, table).abs().max() < 0.12
    dead = explicitness(np.ones((900, 2)), table)
    assert dead["type"] == 0
    assert dead["dose"] == pytest.approx(0, abs=0.02)


def test_order_on_a_line_hides_the_middle():
    """One dimension ranks the outer categories perfectly; the middle one, against the rest, it cannot."""
    z, label = np.arange(300.0)[:, None], np.repeat(list("abc"), 100)
    scores = explicitness(z, label)
    assert scores["a"] == scores["c"] == 1
    assert abs(scores["b"]) < 0.5


def test_continuous_and_seeds():
    rng = np.random.default_rng(2)
    factor = rng.normal(size=200)
    z = np.column_stack([factor + 0.5 * rng.normal(size=200), rng.normal(size=200)])
    first = explicitness(z, factor, seed=3)
    assert first.item() == pytest.approx(0.8, abs=0.1)
    assert first.equals(explicitness(z, factor, seed=np.random.default_rng(3)))
    assert not first.equals(explicitness(z, factor, seed=4))


def test_folds_hold_every_level():
    (factor,) = read_factors(["a"] * 3 + ["b"] * 30, 33, min_members=3)
    folds = split_cells(factor, 3, np.random.default_rng(0))
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(33))
    for train, test in folds:
        assert not set(train) & set(test)
        assert factor.values[test].tolist().count(0) == 1


def test_too_few_cells_to_hold_out():
    label = ["a"] * 2 + ["b"] * 10
    z = np.arange(12.0)[:, None]
    with pytest.raises(ValueError, match=r"fewer than 3 cells: 'a' \(2\)"):
        explicitness(z, label)
    assert explicitness(z, label, n_folds=2).item() == 1
