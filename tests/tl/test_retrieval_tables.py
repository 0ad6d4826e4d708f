"""Summaries of retrieval scores."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.metrics import retrieval_scores
from scwhatif.tl._retrieval_tables import identity_table, summary_table


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(10), 6)
    place = rng.normal(size=(10, 4))[identity]
    tables = [retrieval_scores(place + sd * rng.normal(size=(60, 4)), identity, ks=(1,)) for sd in (0.5, 1.0, 1.1)]
    return identity, tables


def test_draws_of_a_floor_are_averaged(scores):
    identity, (own, first, second) = scores
    rng = np.random.default_rng(0)
    summary, shown = summary_table({"X": [own], "floor": [first, second]}, "X", identity, (1,), 500, rng)
    summary = summary.set_index("rep")
    assert shown is own
    means = [first["ap"].mean(), second["ap"].mean()]
    assert summary.loc["floor", "map"] == pytest.approx(np.mean(means))
    assert summary.loc["floor", "map_sd"] == pytest.approx(np.std(means, ddof=1))
    assert summary.loc["floor", "gain"] == pytest.approx(own["ap"].mean() - np.mean(means))
    assert np.isnan(summary.loc["X", "gain"])
    assert summary.loc["chance", "auc"] == 0.5


def test_intervals_are_wider_where_queries_of_an_identity_agree(scores):
    """Ten identities of six equal queries are ten observations, not sixty."""
    identity, (own, *_) = scores
    agreeing = own.copy()
    agreeing["ap"] = np.random.default_rng(1).uniform(size=10)[identity]
    summary, _ = summary_table({"X": [agreeing]}, "X", identity, (1,), 2000, np.random.default_rng(0))
    width = summary["high"].iloc[0] - summary["low"].iloc[0]
    expected = 2 * 1.96 * np.unique(agreeing["ap"]).std() / np.sqrt(10)
    assert width == pytest.approx(expected, rel=0.1)


def test_identities(scores):
    identity, (own, *_) = scores
    table = identity_table(own, np.array([f"g{i}" for i in identity]), "rank@1")
    assert table["identity"].tolist() == [f"g{i}" for i in range(10)]
    assert table["map"].iloc[3] == pytest.approx(own["ap"][identity == 3].mean())
    assert (table["n_queries"] == 6).all()
