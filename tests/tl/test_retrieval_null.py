"""Exchanging identities keeps the false positive rate."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.tl._retrieval_null import draw_evenly, shuffled_pval

SETTINGS = {"within": None, "metric": "euclidean", "ks": (1,)}


def test_rows_are_drawn_evenly():
    identity = np.array([0] * 90 + [1] * 10 + [2] * 2)
    drawn = draw_evenly(np.arange(102), identity, 12, np.random.default_rng(0))
    assert np.bincount(identity[drawn]).tolist() == [5, 5, 2]
    assert np.array_equal(drawn, np.sort(drawn))
    assert draw_evenly(np.arange(5), identity, None, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("replicates", [1, 6])
def test_false_positive_rate(replicates):
    """Cells of a guide are alike, identities mean nothing."""
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(8), 2 * replicates)
    exam = np.repeat(np.arange(16), replicates)
    pvals = []
    for _ in range(200):
        z = rng.normal(size=(16, 4))[exam] + 0.3 * rng.normal(size=(len(exam), 4))
        settings = {**SETTINGS, "exam": exam}
        pvals.append(shuffled_pval(z, identity, None, np.arange(len(exam)), 39, settings, rng))
    assert 0.02 <= np.mean(np.array(pvals) <= 0.05) <= 0.09
    assert np.mean(np.array(pvals) <= 0.5) == pytest.approx(0.5, abs=0.12)


def test_blocks_explain_what_they_share():
    """Identities differ only by the block they come from."""
    rng = np.random.default_rng(0)
    block = np.repeat([0, 1], 40)
    identity = rng.integers(4, size=80) + 4 * block
    z = 5.0 * block[:, None] + rng.normal(size=(80, 3))
    settings = {**SETTINGS, "exam": None}
    free = shuffled_pval(z, identity, None, np.arange(80), 60, settings, np.random.default_rng(1))
    within = shuffled_pval(z, identity, block, np.arange(80), 60, settings, np.random.default_rng(1))
    assert free < 0.02
    assert within > 0.05


def test_few_identities_on_two_plates():
    """Four identities on two plates: exchanged plate by plate, every query keeps an answer."""
    rng = np.random.default_rng(0)
    identity, exam = np.tile(np.arange(4), 20), np.repeat([0, 1], 40)
    z = 3.0 * np.eye(4)[identity] + rng.normal(size=(80, 4)) + 5.0 * exam[:, None]
    settings = {**SETTINGS, "exam": exam}
    assert shuffled_pval(z, identity, None, np.arange(80), 99, settings, rng) < 0.1
    pvals = [
        shuffled_pval(rng.normal(size=(80, 4)), identity, None, np.arange(80), 19, settings, rng) for _ in range(40)
    ]
    assert 0.25 < np.mean(pvals) < 0.75
