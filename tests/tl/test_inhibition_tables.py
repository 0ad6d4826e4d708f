"""Which genes take part in coalitions."""

from __future__ import annotations

import pandas as pd

from scwhatif.tl._inhibition_tables import closest_players

NAMES = pd.Index(["a", "b", "c", "d"])


def test_inhibited_genes_come_first_then_the_closest():
    overall = pd.DataFrame({"gene": ["d", "b", "c"], "after": [-0.5, float("nan"), 0.1]})
    base = ((0, ("mul", 0.5)), (0, ("cap", 1.0)))
    found = closest_players(base, [0], overall, NAMES, 3)
    assert [(each.gene, each.inhibited) for each in found] == [("a", True), ("d", False), ("c", False)]
    assert found[0].item == base
    assert [column for column, _ in found[1].item] == [3]
    assert closest_players(base, [0], overall, NAMES, 0) == []
