"""Retrieval against a loop over queries, scikit-learn and known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score, roc_auc_score

import scwhatif as wi


def naive(z, identity, exam=None, within=None, metric="cosine"):
    """One query at a time, with ties against it."""
    rows = []
    for q in range(len(z)):
        entries = []
        for g in range(len(z)):
            same = identity[g] == identity[q]
            if g == q or (same and exam is not None and exam[g] == exam[q]):
                continue
            if not same and within is not None and within[g] != within[q]:
                continue
            if metric == "cosine":
                s = z[g] @ z[q] / np.linalg.norm(z[g]) / np.linalg.norm(z[q])
            else:
                s = -np.square(z[g] - z[q]).sum()
            entries.append((-round(s, 6), same))
        entries.sort()
        hits = [same for _, same in entries]
        n_positive = sum(hits)
        if n_positive in (0, len(hits)):
            rows.append((n_positive, len(hits) - n_positive, *[np.nan] * 4))
            continue
        precision = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
        at_r = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits[:n_positive]) if hit]
        auc = roc_auc_score(hits, [-s for s, _ in entries])
        rows.append(
            (
                n_positive,
                len(hits) - n_positive,
                hits.index(True) + 1,
                sum(precision) / n_positive,
                sum(at_r) / n_positive,
                auc,
            )
        )
    return np.array(rows, dtype=float)


@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.sampled_from(["cosine", "euclidean"]))
@settings(max_examples=25, deadline=None)
def test_against_a_loop(seed, with_exam, with_within, metric):
    rng = np.random.default_rng(seed)
    # few values, hence many ties
    z = rng.integers(-2, 3, size=(24, 2)).astype(float) + 0.25
    z /= np.abs(z - z.mean(axis=0)).max()
    identity = rng.integers(4, size=24)
    exam = rng.integers(3, size=24) if with_exam else None
    within = rng.integers(2, size=24) if with_within else None
    found = wi.metrics.retrieval_scores(z, identity, exam=exam, within=within, metric=metric)
    expected = naive(z, identity, exam, within, metric)
    assert_allclose(found[["n_positive", "n_negative", "rank", "ap", "ap_at_r", "auc"]].to_numpy(), expected, atol=1e-9)


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    z, identity = rng.normal(size=(60, 8)), rng.integers(5, size=60)
    found = wi.metrics.retrieval_scores(z, identity)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    for q in range(60):
        others = np.arange(60) != q
        y, s = (identity == identity[q])[others], (unit @ unit[q])[others]
        assert_allclose(found.loc[q, "ap"], average_precision_score(y, s))
        assert_allclose(found.loc[q, "auc"], roc_auc_score(y, s))


def test_a_copy_of_the_query_does_not_stand_for_it():
    z = np.repeat(np.eye(5), 2, axis=0)
    found = wi.metrics.retrieval_scores(z, np.arange(10) // 2)
    assert (found["rank"] == 1).all()
    assert (found["n_positive"] == 1).all()
    # the same rows when the copies belong to somebody else: the tie goes to them
    found = wi.metrics.retrieval_scores(np.vstack([z, z[:1]]), [*(np.arange(10) // 2), 9])
    assert found.loc[0, "rank"] == 2


def test_same_exam_is_not_an_answer():
    z = np.array([[1.0, 0], [1, 0.01], [0, 1], [0.1, 1]])
    identity, exam = ["a", "a", "a", "b"], [0, 0, 1, 1]
    assert wi.metrics.retrieval_scores(z, identity).loc[0, "rank"] == 1
    found = wi.metrics.retrieval_scores(z, identity, exam=exam)
    assert found.loc[0, "n_positive"] == 1
    assert found.loc[0, "rank"] == 2
    assert np.isnan(found.loc[3, "ap"])


def test_chance_is_what_random_orders_give():
    rng = np.random.default_rng(0)
    identity = rng.integers(4, size=40)
    draws = [wi.metrics.retrieval_scores(rng.normal(size=(40, 20)), identity, ks=(1, 3)) for _ in range(60)]
    for name in ("rank@1", "rank@3", "ap"):
        observed = np.mean([draw[name].mean() for draw in draws])
        assert_allclose(observed, draws[0][f"chance_{name}"].mean(), atol=0.012)


def test_a_larger_gallery_hurts_rank_but_not_auc():
    rng = np.random.default_rng(0)
    scores = {}
    for n in (40, 1500):
        place = rng.normal(size=(n, 16))
        z = np.repeat(place, 2, axis=0) + 1.3 * rng.normal(size=(2 * n, 16))
        scores[n] = wi.metrics.retrieval_scores(z, np.arange(2 * n) // 2).mean()
    assert abs(scores[40]["auc"] - scores[1500]["auc"]) < 0.03
    assert scores[40]["rank@1"] > 4 * scores[1500]["rank@1"]


def test_blocks_queries_and_gallery(monkeypatch):
    from scwhatif.metrics import _retrieval_scores as source

    rng = np.random.default_rng(0)
    z, identity = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(6, size=50).astype(str)
    whole = wi.metrics.retrieval_scores(z, identity)
    monkeypatch.setattr(source, "_BLOCK_ENTRIES", 150)
    assert_allclose(wi.metrics.retrieval_scores(z, identity).to_numpy(), whole.to_numpy(), atol=1e-9)
    some = wi.metrics.retrieval_scores(z, identity, queries=[3, 7], gallery=np.arange(50) < 20)
    assert list(some.index) == [3, 7]
    assert (some["n_positive"] + some["n_negative"]).tolist() == [19, 19]


def test_labels_beyond_single_precision():
    z = np.eye(4) + 0.01
    found = wi.metrics.retrieval_scores(z, [2**24, 2**24 + 1, 2**24 + 2, 2**24 + 3])
    assert (found["n_positive"] == 0).all()


def test_shuffled_identities_are_scored_alike():
    rng = np.random.default_rng(0)
    z, identity = rng.normal(size=(30, 4)), rng.integers(4, size=30)
    others = np.array([rng.permutation(identity) for _ in range(3)])
    found = wi.metrics.retrieval_scores(z, identity, shuffled=others)
    for i in range(3):
        assert_allclose(found[f"shuffled_{i}"], wi.metrics.retrieval_scores(z, others[i])["ap"])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_sparse_is_dense(metric):
    from scipy import sparse

    rng = np.random.default_rng(0)
    # no two rows alike, so that rounding after centring does not decide a tie
    z = rng.poisson(0.7, size=(40, 30)) * rng.uniform(0.5, 2, size=(40, 30))
    identity = rng.integers(4, size=40)
    dense = wi.metrics.retrieval_scores(z, identity, metric=metric)
    found = wi.metrics.retrieval_scores(sparse.csr_matrix(z), identity, metric=metric)
    assert_allclose(found.to_numpy(), dense.to_numpy(), atol=1e-6)


def test_bad_input():
    z = np.eye(3)
    with pytest.raises(ValueError, match="metric='cosin' must be one of"):
        wi.metrics.retrieval_scores(z, [0, 0, 1], metric="cosin")
    with pytest.raises(ValueError, match="identity must hold one label for each of the 3 rows"):
        wi.metrics.retrieval_scores(z, [0, 0])
    with pytest.raises(ValueError, match="identity is missing for 1 rows"):
        wi.metrics.retrieval_scores(z, [0, 0, np.nan])
    with pytest.raises(ValueError, match="ks="):
        wi.metrics.retrieval_scores(z, [0, 0, 1], ks=(0,))
    with pytest.raises(ValueError, match="positions from 0 to 2"):
        wi.metrics.retrieval_scores(z, [0, 0, 1], queries=[3])
    with pytest.raises(ValueError, match="1 rows of the embedding have length 0"):
        wi.metrics.retrieval_scores(np.vstack([z, np.zeros(3)]), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="NaN or infinite values, first row 1"):
        wi.metrics.retrieval_scores(np.array([[1.0, 2], [np.nan, 1]]), [0, 0])
