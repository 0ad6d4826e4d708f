"""Indicators and verdict in one step."""

from __future__ import annotations

import numpy as np

import scwhatif as wi
from scwhatif.metrics._judged_embedding import judged_embedding

CLOUD = np.random.default_rng(0).normal(size=(400, 16))


def test_is_both_steps():
    groups = np.arange(400) % 3
    found, verdict = judged_embedding(CLOUD, groups=groups, seed=1)
    assert found == wi.metrics.embedding_indicators(CLOUD, groups=groups, seed=1)
    assert verdict == wi.metrics.embedding_verdict(found)
    again, _ = judged_embedding(CLOUD, moments=wi.metrics.EmbeddingMoments.of(CLOUD), groups=groups, seed=1)
    assert again == found


def test_long_rows_are_judged_by_their_directions():
    z = np.vstack([1000 * CLOUD[:1], CLOUD[1:]])
    assert wi.metrics.embedding_verdict(wi.metrics.embedding_indicators(z)).verdict == "dimensional"
    assert judged_embedding(z)[1].verdict == "outlier"


def test_dead_dimensions_count_for_posteriors_only():
    assert judged_embedding(0.01 * CLOUD)[1].verdict == "ok"
    found, verdict = judged_embedding(0.01 * CLOUD, posterior=True)
    assert (found["active_share"], verdict.verdict) == (0.0, "posterior")
