"""Effective ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import scwhatif as wi


@pytest.mark.parametrize("kind", ["erank", "erank_cov", "participation"])
def test_equal_values_count_in_full(kind):
    assert_allclose(wi.metrics.effective_rank([3.0] * 7 + [0.0] * 5, kind), 7.0)


def test_rankme_by_its_formula():
    sigma = np.array([3.0, 2.0, 0.5])
    p = sigma / sigma.sum() + 1e-7
    assert_allclose(wi.metrics.effective_rank(sigma, "rankme"), np.exp(-(p * np.log(p)).sum()))


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_between_one_and_the_number_whatever_the_scale(values, scale):
    spectrum = np.array(values)
    for kind in ("erank", "erank_cov", "participation"):
        rank = wi.metrics.effective_rank(spectrum, kind)
        assert 1 - 1e-9 <= rank <= len(values) + 1e-9
        assert_allclose(wi.metrics.effective_rank(spectrum * scale, kind), rank, rtol=1e-6)
    assert wi.metrics.effective_rank(spectrum, "erank") >= wi.metrics.effective_rank(spectrum, "erank_cov") - 1e-9


def test_nothing_has_rank_zero():
    assert wi.metrics.effective_rank([0.0, 0.0]) == 0.0


def test_bad_input():
    with pytest.raises(ValueError, match="kind='rank' must be one of"):
        wi.metrics.effective_rank([1.0], "rank")
    for bad in ([-1.0], [np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="finite values of at least 0"):
            wi.metrics.effective_rank(bad)
