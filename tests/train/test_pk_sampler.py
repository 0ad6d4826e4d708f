"""Every row with a positive is dealt, and every batch has what a loss needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scwhatif.train import PKSampler
from scwhatif.train._pk_sampler import has_positive


def naive_has_positive(identities: np.ndarray, exams: np.ndarray | None) -> list[bool]:
    return [
        any(
            i != j and identities[i] == identities[j] and (exams is None or exams[i] != exams[j])
            for j in range(len(identities))
        )
        for i in range(len(identities))
    ]


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray | None, int, int, int]:
    n = draw(st.integers(8, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    identities = rng.integers(0, draw(st.integers(2, 12)), n)
    exams = None
    if draw(st.booleans()):
        exams = rng.integers(0, draw(st.integers(2, 4)), n)
        exams[rng.random(n) < draw(st.sampled_from([0.0, 0.7]))] = 0
    return identities, exams, draw(st.integers(2, 6)), draw(st.integers(1, 2)), draw(st.integers(0, 3))


@settings(max_examples=60, deadline=None)
@given(rows())
def test_invariants(drawn):
    identities, exams, k, world_size, epoch = drawn
    eligible = np.flatnonzero(naive_has_positive(identities, exams))
    n_known = len(np.unique(identities[eligible]))
    if n_known // world_size < 2:
        with pytest.raises(ValueError, match="lower n_identities"):
            PKSampler(identities, exams=exams, n_per_identity=k, world_size=world_size)
        return
    seen: list[set[int]] = []
    for rank in range(world_size):
        sampler = PKSampler(identities, exams=exams, n_per_identity=k, seed=1, rank=rank, world_size=world_size)
        np.testing.assert_array_equal(sampler.eligible, eligible)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert batches == list(sampler)
        for batch in batches:
            # no row is its own positive
            assert len(set(batch)) == len(batch)
            found, counts = np.unique(identities[batch], return_counts=True)
            assert len(found) == sampler.n_identities
            for code, count in zip(found, counts, strict=True):
                assert count == min(k, (identities[eligible] == code).sum())
            if exams is not None:
                assert all(naive_has_positive(identities[batch], exams[batch]))
        seen.append({row for batch in batches for row in batch})
    assert set().union(*seen) == set(eligible.tolist())
    assert world_size == 1 or not seen[0] & seen[1]


def test_epochs_differ_and_seeds_decide():
    identities = np.repeat(np.arange(20), 6)
    sampler, same, other = (PKSampler(identities, n_identities=4, seed=seed) for seed in (3, 3, 4))
    first = list(sampler)
    assert first == list(same)
    assert first != list(other)
    sampler.set_epoch(1)
    assert first != list(sampler)
    assert [len(batch) for batch in first] == [16] * 10


def test_rows_of_few_exams_are_spread():
    identities = np.repeat([0, 1], 12)
    exams = np.tile([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], 2)
    for batch in PKSampler(identities, exams=exams, n_per_identity=4):
        for code in (0, 1):
            own = [row for row in batch if identities[row] == code]
            assert sorted(exams[own]) == [0, 1, 2, 3]


def test_only_given_rows_are_dealt():
    identities = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    sampler = PKSampler(identities, rows=[0, 1, 3, 5, 6], n_per_identity=2)
    np.testing.assert_array_equal(sampler.eligible, [0, 1, 5, 6])
    assert {row for batch in sampler for row in batch} == {0, 1, 5, 6}


def test_large_codes_stay_apart():
    """As float32 they would be one identity."""
    identities = np.repeat([2**24, 2**24 + 1], 3)
    batch = next(iter(PKSampler(identities, n_per_identity=3)))
    assert sorted(batch) == [0, 1, 2, 3, 4, 5]


def test_a_missing_seed_is_drawn_once():
    sampler = PKSampler(np.repeat(np.arange(9), 5), seed=None)
    assert list(sampler) == list(sampler)


@pytest.mark.parametrize(
    ("identities", "kwargs", "message"),
    [
        ([0, 1, 2, 3], {}, "0 of 4 identities have two rows"),
        ([0, 0, 0], {}, "1 of 1 identities have two rows"),
        ([0, 0, 1, 1], {"n_identities": 3}, "fewer than the 3 identities of a batch"),
        ([0, 0, 1, 1], {"exams": [0, 0, 1, 1]}, "rows in two exams"),
        ([0, 0, 1, 1], {"world_size": 2}, "in each of 2 processes"),
        ([0, 0, 1, 1], {"n_per_identity": 1}, "n_per_identity=1 must be at least 2"),
        ([0, 0, 1, 1], {"n_identities": 1}, "n_identities=1 must be at least 2"),
        ([0, 0, 1, 1], {"rank": 1}, "rank=1 must be from 0 to 0"),
        ([0, 0, 1, 1], {"exams": [0]}, "one code for each of the 4 rows"),
        ([[0, 0], [1, 1]], {}, "one dimension"),
    ],
)
def test_wrong_settings(identities, kwargs, message):
    with pytest.raises(ValueError, match=message):
        PKSampler(identities, **kwargs)


def test_codes_must_be_integers():
    with pytest.raises(TypeError, match="identities must be integer codes"):
        PKSampler(np.array([0.0, 0.0, 1.0, 1.0]))
    with pytest.raises(TypeError, match="exams must be integer codes"):
        PKSampler([0, 0, 1, 1], exams=["a", "b", "a", "b"])


def test_has_positive_equals_a_naive_loop():
    rng = np.random.default_rng(0)
    identities, exams = rng.integers(0, 9, 30), rng.integers(0, 3, 30)
    for each in (None, exams):
        np.testing.assert_array_equal(has_positive(identities, each), naive_has_positive(identities, each))
