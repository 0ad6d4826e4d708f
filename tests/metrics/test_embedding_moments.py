"""Moments from sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from scwhatif.metrics import EmbeddingMoments


def cloud(seed, n=70, d=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) * 3


@given(st.integers(0, 10_000), st.integers(1, 69))
@settings(max_examples=20, deadline=None)
def test_merged_blocks_are_the_whole(seed, cut):
    z = cloud(seed)
    reference = z[0]
    whole = EmbeddingMoments(reference).update(z)
    parts = EmbeddingMoments(reference).update(z[:cut]).merge(EmbeddingMoments(reference).update(z[cut:]))
    assert_allclose(parts.covariance, whole.covariance, rtol=1e-10, atol=1e-12)
    assert_allclose(parts.covariance, np.cov(z.T), rtol=1e-9, atol=1e-9)
    assert_allclose(parts.mean, z.mean(axis=0), rtol=1e-10)
    assert_allclose(parts.singular_values, np.linalg.svd(z, compute_uv=False), rtol=1e-7)


def test_mean_cosine_looks_at_every_pair():
    z = cloud(0)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosines = unit @ unit.T
    expected = cosines[~np.eye(len(z), dtype=bool)].mean()
    assert_allclose(EmbeddingMoments.of(z).mean_cosine, expected, atol=1e-12)


def test_rows_of_length_zero_have_no_direction():
    z = np.vstack([np.ones((3, 4)), np.zeros((2, 4))])
    moments = EmbeddingMoments.of(z)
    assert moments.n_zero == 2
    assert_allclose(moments.resultant_length, 1.0)
    assert np.isnan(EmbeddingMoments.of(np.zeros((3, 2))).resultant_length)


def test_lengths():
    z = cloud(1)
    norms = np.linalg.norm(z, axis=1)
    assert_allclose(EmbeddingMoments.of(z).norm_cv, norms.std() / norms.mean())


def test_small_eigenvalues_survive_far_from_the_origin():
    rng = np.random.default_rng(0)
    z = np.column_stack([rng.normal(size=5000), 1e-3 * rng.normal(size=5000)]) + 1e4
    assert_allclose(EmbeddingMoments.of(z.astype(np.float64)).eigenvalues, [1.0, 1e-6], rtol=0.1)


def test_other_reference():
    with pytest.raises(ValueError, match="different reference points"):
        EmbeddingMoments(np.zeros(2)).merge(EmbeddingMoments(np.ones(2)))
