import numpy as np
import pytest

from scwhatif.engine import PairEdits


@pytest.fixture
def pairs() -> PairEdits:
    return PairEdits(
        rows=np.array([0, 0, 2, 5]),
        offsets=np.array([0, 1, 3, 3, 6]),
        features=np.array([4, 1, 2, 0, 1, 2]),
        before=np.arange(6, dtype=np.float32),
        after=np.zeros(6, dtype=np.float32),
        log_scale=np.linspace(0, 1, 4, dtype=np.float32),
    )


@pytest.mark.parametrize("at", [slice(0, 2), slice(1, 4), slice(2, 3), slice(3, None), slice(-2, 99), slice(3, 1)])
def test_a_range_holds_its_own_entries(pairs: PairEdits, at: slice):
    some = pairs[at]
    wanted = range(4)[at]
    assert len(some) == len(wanted)
    np.testing.assert_array_equal(some.rows, pairs.rows[at])
    np.testing.assert_array_equal(some.log_scale, pairs.log_scale[at])
    for position, pair in enumerate(wanted):
        mine = slice(some.offsets[position], some.offsets[position + 1])
        theirs = slice(pairs.offsets[pair], pairs.offsets[pair + 1])
        for name in ("features", "before", "after"):
            np.testing.assert_array_equal(getattr(some, name)[mine], getattr(pairs, name)[theirs])


def test_pair_of_each_entry(pairs: PairEdits):
    np.testing.assert_array_equal(pairs.pair_of_entry, [0, 1, 1, 3, 3, 3])
    np.testing.assert_array_equal(pairs[1:].pair_of_entry, [0, 0, 2, 2, 2])


def test_no_scale_stays_none():
    pairs = PairEdits(np.arange(2), np.arange(3), np.arange(2), np.ones(2, np.float32), np.zeros(2, np.float32))
    assert pairs[:1].log_scale is None


def test_steps_are_refused(pairs: PairEdits):
    with pytest.raises(ValueError, match="step 1"):
        pairs[::2]
