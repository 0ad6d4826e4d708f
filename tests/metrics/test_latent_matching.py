from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scwhatif.metrics import (
    latent_matching_score,
    match_dimensions,
    most_similar_averaging_score,
    most_similar_gap_score,
)
from scwhatif.metrics._latent_matching import lead_of_best

SCORES = (latent_matching_score, most_similar_averaging_score, most_similar_gap_score)
MATRIX = np.array([[0.9, 0.1, 1.0], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.1, 0.9, 0.1]])


def test_by_hand():
    assert latent_matching_score(MATRIX) == pytest.approx((0.9 + 0.9 + 0.9) / 3)
    assert most_similar_averaging_score(MATRIX) == pytest.approx((0.9 + 0.9 + 1.0) / 3)
    assert most_similar_gap_score(MATRIX) == pytest.approx((0.8 + 0.0 + 0.1) / 3)


@pytest.mark.parametrize("score", SCORES)
def test_one_dimension_per_factor_and_nothing_else_is_one(score):
    assert score(np.eye(4)) == 1
    assert score(np.vstack([np.zeros((5, 4)), np.eye(4)])) == 1
    assert score(np.zeros((3, 4))) == 0


def test_a_mixed_dimension_serves_one_factor_only():
    mixed = [[1.0, 1.0], [0.0, 0.0]]
    assert latent_matching_score(mixed) == 0.5
    assert most_similar_averaging_score(mixed) == 1
    assert most_similar_gap_score(mixed) == 1


def test_redundant_dimensions_leave_no_gap():
    assert most_similar_gap_score([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]) == 0.5


def test_a_single_dimension():
    assert latent_matching_score([[0.6, 0.8]]) == pytest.approx(0.4)
    assert most_similar_averaging_score([[0.6, 0.8]]) == pytest.approx(0.7)
    assert most_similar_gap_score([[0.6, 0.8]]) == pytest.approx(0.7)


def test_matches_are_named():
    similarity = pd.DataFrame(MATRIX[[2, 0, 1]], index=["z2", "z0", "z1"], columns=["T", "B", "NK"])
    matched = match_dimensions(similarity)
    assert matched["dim"].to_dict() == {"T": "z0", "B": "z1", "NK": "z2"}
    assert matched["similarity"].tolist() == [0.9, 0.9, 0.9]
    assert match_dimensions(MATRIX)["dim"].iloc[0] == 0


def test_factors_without_a_dimension():
    matched = match_dimensions(pd.DataFrame([[0.2, 0.9, 0.1]], index=["z0"], columns=list("abc")))
    assert matched["dim"].isna().tolist() == [True, False, True]
    assert matched["similarity"].tolist() == [0.0, 0.9, 0.0]


@given(arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(0, 1)), st.randoms())
def test_order_of_dimensions_and_factors_is_irrelevant(matrix: np.ndarray, random):
    rows, columns = list(range(matrix.shape[0])), list(range(matrix.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    for score in SCORES:
        assert score(matrix[rows][:, columns]) == pytest.approx(score(matrix), abs=1e-12)
    assert latent_matching_score(matrix) <= most_similar_averaging_score(matrix) + 1e-12
    assert most_similar_gap_score(matrix) <= most_similar_averaging_score(matrix) + 1e-12


def test_lead_of_best():
    np.testing.assert_allclose(lead_of_best(MATRIX), [0.8, 0.0, 0.1])


@pytest.mark.parametrize("score", [*SCORES, match_dimensions])
@pytest.mark.parametrize(("matrix", "message"), [([1.0], "shape"), (np.ones((0, 2)), "shape"), ([[np.nan]], "finite")])
def test_bad_input(score, matrix, message: str):
    with pytest.raises(ValueError, match=message):
        score(matrix)
