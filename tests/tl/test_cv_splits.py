"""Folds: who is held out, and that groups stay together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, StratifiedKFold

from scwhatif.tl._cv_splits import make_splits


def obs(n: int = 40, n_groups: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "patient": [f"p{i % n_groups}" for i in range(n)],
            "tissue": pd.Categorical(rng.choice(["a", "b"], n)),
            "fold": np.arange(n) % 3,
        },
        index=[f"s{i}" for i in range(n)],
    )


def make(table: pd.DataFrame, cv: object = 5, **change: object):
    defaults = {"groups": None, "stratify": None, "n_repeats": 1, "train_size": 0.9, "seed": 0}
    return make_splits(table, cv, **{**defaults, **change})


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(12, 60),
    cv=st.integers(2, 5),
    groups=st.sampled_from([None, "patient"]),
    stratify=st.sampled_from([None, "tissue"]),
    seed=st.integers(0, 100),
)
def test_every_sample_is_held_out_once_per_repeat(n: int, cv: int, groups: str | None, stratify: str | None, seed: int):
    table = obs(n, 6)
    splits = make(table, cv, groups=groups, stratify=stratify, n_repeats=2, seed=seed)
    assert [(s.repeat, s.fold) for s in splits] == [(r, f) for r in range(2) for f in range(cv)]
    for repeat in range(2):
        held_out = np.concatenate([s.test for s in splits if s.repeat == repeat])
        np.testing.assert_array_equal(np.sort(held_out), np.arange(n))
    for split in splits:
        together = np.sort(np.concatenate([split.train, split.validation, split.test]))
        np.testing.assert_array_equal(together, np.arange(n))
        if groups is not None:
            parts = [set(table["patient"].iloc[part]) for part in (split.train, split.validation, split.test)]
            assert not parts[0] & parts[2]
            assert not parts[1] & parts[2]
            assert cv == 2 or not parts[0] & parts[1]


def test_folds_are_those_of_scikit_learn():
    table = obs()
    expected = [test for _, test in KFold(5, shuffle=True, random_state=7).split(table)]
    for split, test in zip(make(table, seed=7), expected, strict=True):
        np.testing.assert_array_equal(split.test, test)
    grouped = [test for _, test in GroupKFold(4).split(table, groups=table["patient"])]
    for split, test in zip(make(table, 4, groups="patient"), grouped, strict=True):
        np.testing.assert_array_equal(split.test, test)
    by_tissue = StratifiedKFold(4, shuffle=True, random_state=0).split(table, table["tissue"])
    for split, (_, test) in zip(make(table, 4, stratify="tissue"), by_tissue, strict=True):
        np.testing.assert_array_equal(split.test, test)


def test_own_splitter_column_and_pairs():
    table = obs()
    column = make(table, "fold")
    assert [set(table["fold"].iloc[s.test]) for s in column] == [{0}, {1}, {2}]
    pairs = [(s.train.tolist() + s.validation.tolist(), s.test[::-1]) for s in column]
    for one, other in zip(column, make(table, pairs), strict=True):
        np.testing.assert_array_equal(one.test, other.test)
        np.testing.assert_array_equal(one.train, other.train)
    drawn = make(table, ShuffleSplit(3, test_size=0.25, random_state=0))
    assert [len(s.test) for s in drawn] == [10, 10, 10]


def test_repeats_deal_anew_and_validation_is_a_tenth():
    first, second = (s for s in make(obs(100), 5, n_repeats=2) if s.fold == 0)
    assert not np.array_equal(first.test, second.test)
    assert (len(first.train), len(first.validation), len(first.test)) == (72, 8, 20)
    whole = make(obs(100), 5, train_size=1.0)[0]
    assert len(whole.validation) == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cv": 1}, ValueError, "cv=1 must be at least 2"),
        ({"cv": 41}, ValueError, "41 folds cannot be made of 40 samples"),
        ({"cv": 9, "groups": "patient"}, ValueError, "9 folds cannot be made of 8 groups"),
        ({"cv": 35, "stratify": "tissue"}, ValueError, "no stratum has as many samples"),
        ({"groups": "donor"}, KeyError, "groups='donor' is not a column"),
        ({"stratify": "gaps"}, ValueError, r"gaps.* \(stratify\) is missing for 3 sample"),
        ({"cv": "donor"}, KeyError, "cv='donor' is not a column"),
        ({"cv": "same"}, ValueError, "names a single fold"),
        ({"cv": 2.5}, TypeError, "cv=2.5 must be"),
        ({"cv": [([0, 1], [2, 3])]}, ValueError, "Fold 0 of cv has 2 training and 2 test samples"),
        ({"cv": "fold", "groups": "patient"}, ValueError, "Fold 0 of cv divides a group"),
        ({"n_repeats": 0}, ValueError, "n_repeats=0"),
        ({"train_size": 0}, ValueError, "train_size=0"),
    ],
)
def test_bad_input(change: dict, error: type[Exception], message: str):
    table = obs()
    table["gaps"] = [None, None, None, *["a"] * 37]
    table["same"] = 1
    with pytest.raises(error, match=message):
        make(table, change.pop("cv", 5), **change)
