from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from scwhatif.metrics import average_precision_at

case = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=30).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def naive(labels: np.ndarray, scores: np.ndarray, prevalence: float) -> float:
    total, before = 0.0, 0.0
    for t in sorted(set(scores.tolist()), reverse=True):
        called = scores >= t
        tpr, fpr = called[labels == 1].mean(), called[labels == 0].mean()
        total += (tpr - before) * prevalence * tpr / (prevalence * tpr + (1 - prevalence) * fpr)
        before = tpr
    return total


@settings(max_examples=40, deadline=None)
@given(case, st.floats(0.01, 0.99))
def test_equals_the_definition(rows, prevalence: float):
    labels, scores = np.array(rows).T
    assert average_precision_at(labels, scores, prevalence) == pytest.approx(naive(labels, scores, prevalence))
    assert average_precision_at(labels, scores) == pytest.approx(average_precision_score(labels, scores))
    assert average_precision_at(labels, scores, labels.mean()) == pytest.approx(average_precision_at(labels, scores))


@settings(max_examples=40, deadline=None)
@given(case, st.floats(0.01, 0.5))
def test_rises_with_prevalence_and_is_that_of_repeated_rows(rows, prevalence: float):
    labels, scores = np.array(rows).T
    assert average_precision_at(labels, scores, prevalence) <= average_precision_at(labels, scores, prevalence + 0.3)
    assert average_precision_at(labels, np.zeros(len(labels)), prevalence) == pytest.approx(prevalence)
    repeated = np.concatenate([np.arange(len(labels)), *[np.flatnonzero(labels)] * 3])
    more = labels[repeated].mean()
    assert average_precision_at(labels, scores, more) == pytest.approx(
        average_precision_score(labels[repeated], scores[repeated])
    )


@pytest.mark.parametrize("prevalence", [0, 1, -0.1, np.nan])
def test_bad_prevalence(prevalence: float):
    with pytest.raises(ValueError, match="within"):
        average_precision_at([0, 1], [0, 1], prevalence)


def test_bad_labels():
    with pytest.raises(ValueError, match="not only 1"):
        average_precision_at([1, 1], [0, 1])
