"""One look, as the tools for each of its parts would see it."""

from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.metrics._embedding_report import embedding_report

RNG = np.random.default_rng(0)
IDENTITY = np.repeat(list("abcd"), 30)
EXAM = np.tile(list("xyz"), 40)
Z = RNG.normal(size=(120, 5)) + 2 * np.eye(4, 5)[np.repeat(np.arange(4), 30)]


def test_agrees_with_its_parts():
    row, reasons = embedding_report(Z, identity=IDENTITY, exam=EXAM, ks=(1, 3))
    scores = wi.metrics.retrieval_scores(Z, IDENTITY, exam=EXAM, ks=(1, 3))
    assert row["map"] == pytest.approx(scores["ap"].mean())
    assert row["map_at_r"] == pytest.approx(scores["ap_at_r"].mean())
    assert row["auc"] == pytest.approx(scores["auc"].mean())
    assert (row["rank_1"], row["rank_3"]) == pytest.approx((scores["rank@1"].mean(), scores["rank@3"].mean()))
    assert (row["n_queries"], row["gallery"]) == (120, 110)
    for name, value in wi.metrics.cluster_geometry(Z, IDENTITY).scores.items():
        assert row[name] == pytest.approx(value)
    for name, value in wi.metrics.embedding_indicators(Z, groups=IDENTITY).items():
        assert row[name] == pytest.approx(value)
    assert (row["verdict"], row["status"], row["active_share"], reasons) == ("ok", "ok", 1.0, "")


def test_health_only():
    row, _ = embedding_report(Z, posterior=False)
    assert not {"map", "ratio", "active_share"} & set(row)


def test_queries_are_bounded_and_the_gallery_is_not():
    row, _ = embedding_report(Z, identity=IDENTITY, max_queries=20)
    assert (row["n_queries"], row["gallery"]) == (20, 119)
    again, _ = embedding_report(Z, identity=IDENTITY, max_queries=20)
    assert row["map"] == again["map"]


def test_orphans_and_rows_at_the_origin_do_not_end_it():
    z = Z.copy()
    z[3] = 0
    row, _ = embedding_report(z, identity=IDENTITY, exam=IDENTITY)
    assert row["n_queries"] == 0
    assert np.isnan(row["map"])
    assert row["ratio"] > 1
    row, _ = embedding_report(Z, identity=np.arange(120))
    assert "ratio" not in row


def test_not_finite():
    z = Z.copy()
    z[3, 1] = np.nan
    report = embedding_report(z, identity=IDENTITY)
    assert report.row == {"verdict": "not finite", "status": "error"}
    assert report.reasons == "codes are not finite"
