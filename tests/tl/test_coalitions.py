"""Tests that coalitions are what their genes do together."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.perturbation import Edit
from scwhatif.tl._coalitions import Player, coalition_tables

KO = Edit("feature", ("g",), "ko")
PLAYERS = [Player("a", inhibited=True, item=((0, KO), (0, KO))), Player("b", inhibited=False, item=((1, KO),))]


def test_every_subset_once():
    asked = []

    def worth(items: list) -> np.ndarray:
        asked.extend(tuple(column for column, _ in item) for item in items)
        # either gene does it
        return np.array([-2.0, -2.0, -3.0])

    shares, coalitions = coalition_tables(PLAYERS, worth)
    assert asked == [(0, 0), (1,), (0, 0, 1)]
    assert coalitions["genes"].tolist() == ["", "a", "b", "a + b"]
    assert coalitions["n_genes"].tolist() == [0, 1, 1, 2]
    assert coalitions["change"].tolist() == [0.0, -2.0, -2.0, -3.0]
    assert shares["gene"].tolist() == ["a", "b"]
    assert shares["inhibited"].tolist() == [True, False]
    assert shares["value"].tolist() == [-1.5, -1.5]
    assert shares["value"].sum() == pytest.approx(-3.0)


def test_nobody():
    def worth(_: list) -> np.ndarray:
        raise AssertionError

    shares, coalitions = coalition_tables([], worth)
    assert list(shares) == ["gene", "inhibited", "value"]
    assert len(shares) == len(coalitions) == 0
