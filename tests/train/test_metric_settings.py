"""Settings that are unknown, out of range, or do not go together."""

from __future__ import annotations

import pytest

from scwhatif.train._metric_settings import check_bank, check_mining, gain_needed


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mining": "semi-hard"}, "mining='semi-hard' must be one of"),
        ({"mining": {1: "hard"}}, "schedule of mining names epochs from 0 on"),
        ({"mining": {0: "hard", 2: "harder"}}, "mining='harder'"),
        ({"margin": {3: 0.1}}, "schedule of margin"),
        ({"margin": -1.0}, "margin=-1.0 must be finite and positive"),
        ({"loss": "supcon", "margin": 0.2}, "no meaning for loss='supcon'"),
        ({"loss": "center", "mining": "hard"}, "has no use for mining='hard'"),
        ({"refresh_every": 0}, "refresh_every=0"),
        ({"monitor": "loss"}, "monitor='loss' must be one of"),
        ({"mining": "full-hard", "search": "faiss"}, "search='faiss' must be one of"),
        ({"mining": "full-hard", "bank_size": 9}, "bank_size=9 has no meaning for search='exact'"),
        ({"mining": {0: "hard", 3: "random"}, "search": "bank"}, r"mining is \['hard', 'random'\]"),
        ({"mining": "full-hard", "search": "bank", "refresh_every": 2}, "refresh_every=2 has no meaning"),
        ({"mining": "full-hard", "search": "bank", "bank_size": 1}, "bank_size=1 must be at least 2"),
    ],
)
def test_wrong_settings(kwargs: dict, message: str):
    usual = {"loss": "triplet", "mining": "all", "margin": None, "refresh_every": 1, "monitor": "map"}
    with pytest.raises(ValueError, match=message):
        check_mining(**{**usual, **kwargs})


def test_semihard_gives_a_margin_a_meaning():
    check_mining("supcon", {0: "all", 3: "semihard"}, 0.3, refresh_every=1, monitor="rank_1")


def test_a_bank_belongs_to_full_hard():
    check_mining("triplet", {0: "random", 3: "full-hard"}, None, refresh_every=1, monitor="map", search="bank")


def test_a_bank_holds_a_batch():
    check_bank(None, 64)
    check_bank(64, 64)
    with pytest.raises(ValueError, match="bank_size=63 must be at least 64, the rows of a batch"):
        check_bank(63, 64)


@pytest.mark.parametrize(("start", "min_gain", "needed"), [(0.5, 0.05, 0.025), (0.98, 0.05, 0.01), (0.98, 0.0, 0.0)])
def test_an_input_that_misses_little_still_asks_for_a_gain(start: float, min_gain: float, needed: float):
    assert gain_needed(start, min_gain) == pytest.approx(needed)
