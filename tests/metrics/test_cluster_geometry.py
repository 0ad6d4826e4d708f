"""Geometry from sums beside all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

import scwhatif as wi


def cloud(n=120, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.choice(list("abcd"), p=[0.5, 0.3, 0.15, 0.05], size=n)
    return 2 + rng.normal(size=(n, 7)) + 2 * np.eye(4, 7)[[ord(each) - 97 for each in label]], label


def test_equal_to_all_pairs():
    z, label = cloud()
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    d = np.square(u[:, None] - u[None]).sum(axis=2)
    same, other = label[:, None] == label[None], ~np.eye(len(z), dtype=bool)
    found = wi.metrics.cluster_geometry(z, label)
    expected = {
        "intra": d[same & other].mean(),
        "inter": d[~same].mean(),
        "ratio": d[~same].mean() / d[same & other].mean(),
        "nn_accuracy": (label[np.where(other, d, np.inf).argmin(axis=1)] == label).mean(),
        "calinski_harabasz": calinski_harabasz_score(z, label),
        "davies_bouldin": davies_bouldin_score(z, label),
    }
    assert found.scores == pytest.approx(expected)
    np.testing.assert_array_equal(found.neighbours[:, 1], np.where(other, d, np.inf).argmin(axis=1))
    for row in found.groups.itertuples():
        own = label == row.group
        between = {each: d[np.ix_(own, label == each)].mean() for each in "abcd" if each != row.group}
        assert row.n == own.sum()
        assert row.intra == pytest.approx(d[np.ix_(own, own)][~np.eye(own.sum(), dtype=bool)].mean())
        assert row.nearest == min(between, key=between.get)
        assert row.inter == pytest.approx(min(between.values()))
        assert row.nn_accuracy == pytest.approx((label[np.where(other, d, np.inf).argmin(axis=1)] == label)[own].mean())


def test_nn_accuracy_is_rank_1():
    z, label = cloud()
    z[5] = z[6]
    expected = wi.metrics.retrieval_scores(z, label, ks=(1,))["rank@1"].mean()
    assert wi.metrics.cluster_geometry(z, label).scores["nn_accuracy"] == pytest.approx(expected)


def test_ties_and_single_rows():
    z = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = wi.metrics.cluster_geometry(z, ["a", "a", "b", "c"])
    assert found.scores["nn_accuracy"] == 0
    assert found.scores["intra"] == 0
    assert np.isnan(found.scores["ratio"])
    groups = found.groups.set_index("group")
    assert groups["intra"].isna().tolist() == [False, True, True]
    assert groups["nn_accuracy"].isna().tolist() == [False, True, True]
    assert found.neighbours[:, 0].tolist() == [0, 1]


def test_fewer_queries():
    z, label = cloud(n=600)
    some, all_rows = (wi.metrics.cluster_geometry(z, label, max_queries=n) for n in (100, None))
    assert (len(some.neighbours), len(all_rows.neighbours)) == (100, 600)
    assert some.scores["ratio"] == all_rows.scores["ratio"]
    assert some.scores["nn_accuracy"] == pytest.approx(all_rows.scores["nn_accuracy"], abs=0.15)


def test_bad_input():
    z, label = cloud(n=20)
    for groups, match in (
        (label[:-1], r"not \(20, 7\) and \(19,\)"),
        (["a"] * 20, "There are 1 groups of 20 rows"),
        (np.arange(20), "There are 20 groups of 20 rows"),
        ([None, *label[1:]], "groups is missing for 1 rows"),
    ):
        with pytest.raises(ValueError, match=match):
            wi.metrics.cluster_geometry(z, groups)
    with pytest.raises(ValueError, match="max_queries=0"):
        wi.metrics.cluster_geometry(z, label, max_queries=0)
    z[3] = 0
    with pytest.raises(ValueError, match="1 rows of the embedding have length 0"):
        wi.metrics.cluster_geometry(z, label)
    z[3, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 20 rows of the embedding are not finite"):
        wi.metrics.cluster_geometry(z, label)
