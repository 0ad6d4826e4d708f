"""Selection probabilities: planted items, the bound, what halves hold."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.metrics import selection_probability


def test_planted_items_are_found_and_the_others_share_the_rest():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(80, 30))
    scores[:, [4, 9]] -= 1.5
    found = selection_probability(scores, 3)
    assert (found.probability[[4, 9]] == 1).all()
    assert (found.simultaneous[[4, 9]] == 1).all()
    assert found.probability.sum() == pytest.approx(3)
    others = np.delete(found.probability, [4, 9])
    assert others.max() < 0.5
    assert (found.simultaneous <= found.probability).all()


def test_halves_are_complementary_and_keep_the_shares_of_the_strata():
    seen = []

    def remember(rows: np.ndarray) -> np.ndarray:
        seen.append(rows[:, 0])
        return np.zeros(2)

    scores = np.column_stack([np.arange(24.0), np.zeros(24)])
    strata = np.repeat(["a", "b"], [16, 8])
    selection_probability(scores, statistic=remember, strata=strata, n_pairs=3)
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert sorted([*first, *second]) == list(range(24))
        assert (first < 16).sum() == (second < 16).sum() == 8
    assert not np.array_equal(np.sort(seen[0]), np.sort(seen[2]))


def test_ties_are_decided_at_random_and_unknown_items_are_never_selected():
    scores = np.zeros((20, 5))
    scores[:, 2] = np.nan
    found = selection_probability(scores, n_pairs=500)
    assert found.probability[2] == 0
    np.testing.assert_allclose(np.delete(found.probability, 2), 0.25, atol=0.06)


def test_the_bound_holds_for_noise():
    called, bounds = [], []
    for seed in range(40):
        found = selection_probability(np.random.default_rng(seed).normal(size=(40, 25)), 5, seed=seed)
        called.append((found.probability >= 0.75).sum())
        bounds.append(found.expected_false(0.75))
    assert bounds[0] == 5**2 / (0.5 * 25)
    assert np.mean(called) <= bounds[0]


def test_same_seed_same_result():
    scores = np.random.default_rng(0).normal(size=(20, 6))
    first, second = (selection_probability(scores, 2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.probability, second.probability)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.zeros((3, 2))}, "at least 4 samples"),
        ({"n_top": 7}, "n_top=7 must be between 1 and the number of items, 6"),
        ({"n_pairs": 0}, "n_pairs=0"),
        ({"strata": [1, 2]}, "strata has 2 entries for 20"),
    ],
)
def test_bad_input(change: dict, message: str):
    arguments = {"scores": np.zeros((20, 6)), **change}
    with pytest.raises(ValueError, match=message):
        selection_probability(arguments.pop("scores"), arguments.pop("n_top", 1), **arguments)
    with pytest.raises(ValueError, match=r"threshold=0.5"):
        selection_probability(np.zeros((20, 6))).expected_false(0.5)
