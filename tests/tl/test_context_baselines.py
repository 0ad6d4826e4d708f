from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from scwhatif.tl._context_baselines import BASELINES, LocusLookup, baseline_inputs, make_baseline, rank_within


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_ranks_equal_a_loop(rng: np.random.Generator):
    values = rng.integers(0, 4, (40, 3)).astype(float)
    values[rng.uniform(size=values.shape) < 0.2] = np.nan
    groups = rng.choice(["a", "b"], 40)
    values[groups == "a", 2] = np.nan
    found = rank_within(values, groups)
    for group in ("a", "b"):
        for j in range(3):
            column = values[groups == group, j]
            there = ~np.isnan(column)
            expected = np.full(len(column), np.nan)
            if there.any():
                expected[there] = (rankdata(column[there]) - 0.5) / there.sum()
            np.testing.assert_allclose(found[groups == group, j], expected)


def test_ranks_undo_what_a_line_does_to_a_feature(rng: np.random.Generator):
    values = rng.normal(size=(100, 2))
    groups = np.repeat(["a", "b"], 50)
    changed = np.where(groups[:, None] == "b", np.exp(values) + 3, values)
    np.testing.assert_allclose(rank_within(changed, groups), rank_within(values, groups))


def test_every_baseline_learns_from_its_input(rng: np.random.Generator):
    n = 600
    lines, distance = np.repeat(["a", "b"], n // 2), 10 ** rng.uniform(3, 6, n)
    x = np.column_stack([rng.normal(size=n), distance])
    x[:50, 0] = np.nan
    labels = (rng.uniform(size=n) < 1 / (1 + np.exp(2 * (np.log10(distance) - 4)))).astype(int)
    places = rng.integers(0, 5, (n, 2))
    inputs = baseline_inputs(list(BASELINES), x, lines, distance, places)
    assert list(inputs) == list(BASELINES)
    for name in BASELINES:
        classifier = make_baseline(name, 0).fit(inputs[name], labels)
        probability = classifier.predict_proba(inputs[name])
        np.testing.assert_allclose(probability.sum(axis=1), 1)
        auc = roc_auc_score(labels, probability[:, 1])
        if name == "prevalence":
            np.testing.assert_allclose(probability[:, 1], labels.mean())
        else:
            assert auc > (0.5 if name == "lookup" else 0.75), name
    assert inputs["logistic"] is x
    both = inputs["gradient_boosting_both"]
    np.testing.assert_array_equal(both, np.hstack([x, inputs["gradient_boosting_tuned"]]))
    halves = [make_baseline("gradient_boosting_tuned", 0).fit(half, labels) for half in np.split(both, 2, axis=1)]
    mean = np.mean(
        [each.predict_proba(half) for each, half in zip(halves, np.split(both, 2, axis=1), strict=True)], axis=0
    )
    np.testing.assert_allclose(make_baseline("gradient_boosting_both", 0).fit(both, labels).predict_proba(both), mean)
    assert np.nanmax(inputs["gradient_boosting_tuned"]) < 1


def test_lookup_equals_a_loop():
    places = np.array([[0, 10], [0, 11], [1, 10], [2, 12]])
    labels = np.array([1, 1, 0, 0])
    lookup = LocusLookup().fit(places, labels)
    found = lookup.predict_proba(np.array([[0, 10], [0, 99], [99, 99], [1, 12]]))[:, 1]
    share = {0: 2.5 / 3, 1: 0.5 / 2, 10: 1.5 / 3, 12: 0.5 / 2, 99: 0.5}
    expected = [(share[e] + share[p]) / 2 for e, p in ((0, 10), (0, 99), (99, 99), (1, 12))]
    np.testing.assert_allclose(found, expected)


def test_bad_input(rng: np.random.Generator):
    x, lines = rng.normal(size=(4, 1)), np.array(list("aabb"))
    with pytest.raises(ValueError, match=r"baselines=\['trees'\] must be of"):
        baseline_inputs(["trees"], x, lines, None, None)
    with pytest.raises(ValueError, match=r"needs obs\['distance'\]"):
        baseline_inputs(["distance"], x, lines, None, None)
    with pytest.raises(ValueError, match="needs the places"):
        baseline_inputs(["lookup"], x, lines, None, None)
