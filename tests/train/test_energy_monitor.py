import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from scwhatif.train._energy_monitor import best_threshold, line_probe, line_scores


def predictions(n=400, seed=0):
    rng = np.random.default_rng(seed)
    lines = rng.integers(0, 3, size=n)
    probability = rng.uniform(size=n) ** 2
    return probability, (rng.uniform(size=n) < probability).astype(float), lines


def test_scores_are_means_over_lines():
    p, y, lines = predictions()
    scores = line_scores(p, y, lines)
    for name, metric in [("aupr", average_precision_score), ("auroc", roc_auc_score)]:
        assert scores[name] == pytest.approx(np.mean([metric(y[lines == c], p[lines == c]) for c in range(3)]))
    assert scores["calibration_slope"] == pytest.approx(1.0, abs=0.3)
    assert scores["ece"] < 0.1


def test_a_line_without_positives_is_left_out_and_none_is_nan():
    p, y, lines = predictions()
    expected = line_scores(p[lines > 0], y[lines > 0], lines[lines > 0])["aupr"]
    y[lines == 0] = 0
    assert line_scores(p, y, lines)["aupr"] == pytest.approx(expected)
    assert np.isnan(line_scores(p, np.zeros_like(y), lines)["aupr"])


def test_threshold_has_the_largest_f1_of_all():
    p, y, _ = predictions()
    one = np.zeros(len(p))
    threshold, balanced = best_threshold(p, y, one)
    scores = [f1_score(y, p >= t) for t in p]
    assert f1_score(y, p >= threshold) == pytest.approx(max(scores))
    called = p >= balanced
    precision, recall = y[called].mean(), called[y == 1].mean()
    assert abs(precision - recall) < 0.02


def test_lines_count_the_same_whatever_their_size():
    p, y, lines = predictions()
    extra = np.repeat(np.flatnonzero(lines == 0), 9)
    rows = np.concatenate([np.arange(len(p)), extra])
    assert best_threshold(p[rows], y[rows], lines[rows])[0] == best_threshold(p, y, lines)[0]
    assert best_threshold(p, np.zeros_like(y), lines) == (0.5, 0.5)


def test_probe_tells_lines_from_codes_that_hold_them_only():
    rng = np.random.default_rng(0)
    lines = rng.integers(0, 4, size=3000)
    blocks = rng.integers(0, 6, size=3000)
    invariant = rng.normal(size=(3000, 6))
    telling = invariant + np.eye(4, 6)[lines] * 5
    assert line_probe(invariant, lines, blocks=blocks) < 0.25 + 0.10
    assert line_probe(telling, lines, blocks=blocks) > 0.95
    assert np.isnan(line_probe(invariant, np.zeros(3000)))


def test_probe_is_scored_on_other_blocks():
    """What tells a line on one chromosome only must not count."""
    rng = np.random.default_rng(0)
    lines, blocks = rng.integers(0, 2, size=2000), rng.integers(0, 2, size=2000)
    signs = np.where(blocks == 0, 1, -1) * np.where(lines == 0, 1, -1)
    codes = signs[:, None] + 0.1 * rng.normal(size=(2000, 1))
    assert line_probe(codes, lines, blocks=blocks) < 0.1
