"""Wrong labels that are known to be wrong are found, and how many is foretold."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import scwhatif as wi


@pytest.fixture(scope="module")
def digits():
    x, truth = load_digits(return_X_y=True)
    x, truth = x[:900], truth[:900]
    rng = np.random.default_rng(1)
    wrong = rng.random(900) < 0.05
    cells = ad.AnnData(np.zeros((900, 1), np.float32), obs=pd.DataFrame(index=np.arange(900).astype(str)))
    cells.obs["truth"] = pd.Categorical(truth.astype(str))
    cells.obs["label"] = pd.Categorical(
        np.where(wrong, (truth + rng.integers(1, 10, size=900)) % 10, truth).astype(str)
    )
    cells.obs["wrong"] = wrong
    cells.obsm["X_wi"] = x
    wi.tl.suspicious_labels(cells, identity_key="label")
    return cells


def test_planted_labels_are_found(digits):
    obs = digits.obs
    flagged = obs["suspicious_labels_flagged"]
    assert obs.loc[flagged, "wrong"].mean() > 0.65
    assert flagged[obs["wrong"]].mean() > 0.9
    n_wrong = int(obs["wrong"].sum())
    assert obs["wrong"].loc[obs["suspicious_labels_score"].nlargest(n_wrong).index].mean() > 0.85
    found = obs[flagged & obs["wrong"]]
    assert (found["suspicious_labels_suggested"].astype(str) == found["truth"].astype(str)).mean() > 0.9


def test_how_many_is_foretold(digits):
    found, obs = digits.uns["suspicious_labels"], digits.obs
    flagged = obs["suspicious_labels_flagged"]
    estimate = found["estimate"]
    assert estimate["wrong_share"] == pytest.approx(obs["wrong"].mean(), abs=0.01)
    assert estimate["precision"] == pytest.approx(obs.loc[flagged, "wrong"].mean(), abs=0.15)
    assert estimate["recall"] == pytest.approx(flagged[obs["wrong"]].mean(), abs=0.1)
    assert estimate["flagged_share"] == flagged.mean()
    planted = found["planted"]
    assert (planted["n_planted"] == 90).all()
    assert planted["auc"].mean() > 0.95
    assert planted["recall"].mean() == pytest.approx(estimate["recall"], abs=0.03)
    assert (obs["suspicious_labels_null"] > obs["suspicious_labels_score"])[~obs["wrong"]].mean() > 0.95


def test_labels_that_are_right(digits):
    found = wi.tl.suspicious_labels(digits, identity_key="truth", copy=True)
    assert found.obs["suspicious_labels_flagged"].mean() < 0.01
    assert found.uns["suspicious_labels"]["estimate"]["wrong_share"] < 0.01


def test_scores_are_those_of_a_loop(digits):
    x = digits.obsm["X_wi"] / np.linalg.norm(digits.obsm["X_wi"], axis=1, keepdims=True)
    label = digits.obs["label"].to_numpy()
    cosine = x @ x.T
    for i in (0, 17, 400):
        near = {}
        for name in np.unique(label):
            others = (label == name) & (np.arange(900) != i)
            near[name] = np.sort(cosine[i, others])[-5:].mean()

        def score(own, near=near):
            return max(value for name, value in near.items() if name != own) - near[own]

        row = digits.obs.iloc[i]
        assert row["suspicious_labels_score"] == pytest.approx(score(label[i]), abs=1e-5)
        null = np.mean([score(name) for name in near if name != label[i]])
        assert row["suspicious_labels_null"] == pytest.approx(null, abs=1e-5)


def test_labels_without_meaning_flag_nothing():
    rng = np.random.default_rng(0)
    cells = ad.AnnData(np.zeros((200, 1), np.float32), obs=pd.DataFrame(index=np.arange(200).astype(str)))
    cells.obs["label"] = rng.choice(list("abc"), size=200)
    cells.obsm["X_wi"] = rng.normal(size=(200, 5))
    wi.tl.suspicious_labels(cells, identity_key="label", precision=0.95)
    assert not cells.obs["suspicious_labels_flagged"].any()
    assert cells.uns["suspicious_labels"]["threshold"] == np.inf
    assert cells.uns["suspicious_labels"]["planted"]["auc"].mean() == pytest.approx(0.5, abs=0.15)


def test_written_and_read(digits, tmp_path):
    found = wi.tl.suspicious_labels(
        digits[:200].copy(), identity_key="label", n_plantings=2, key_added="doubt", copy=True
    )
    found.write_h5ad(tmp_path / "cells.h5ad")
    read = ad.read_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(read.uns["doubt"]["planted"], found.uns["doubt"]["planted"], check_dtype=False)
    assert read.uns["doubt"]["threshold"] == found.uns["doubt"]["threshold"]
    assert read.obs["doubt_flagged"].tolist() == found.obs["doubt_flagged"].tolist()


def test_bad_input(digits):
    with pytest.raises(KeyError, match="no_column"):
        wi.tl.suspicious_labels(digits, identity_key="no_column")
    with pytest.raises(KeyError, match="X_none"):
        wi.tl.suspicious_labels(digits, identity_key="label", use_rep="X_none")
    for kwargs, match in (
        ({"precision": 1.0}, r"precision=1\.0"),
        ({"share": 0.0}, r"share=0\.0"),
        ({"n_neighbours": 0}, "n_neighbours=0"),
        ({"n_plantings": 0}, "n_plantings=0"),
    ):
        with pytest.raises(ValueError, match=match):
            wi.tl.suspicious_labels(digits, identity_key="label", **kwargs)
    cells = digits[:50].copy()
    cells.obs["label"] = ["alone", *["a", "b"] * 24, "a"]
    with pytest.raises(ValueError, match="single cell: 'alone'"):
        wi.tl.suspicious_labels(cells, identity_key="label")
    cells.obs["label"] = ["a", "b"] * 25
    cells.obsm["X_wi"][4] = 0
    with pytest.raises(ValueError, match="1 rows of adata"):
        wi.tl.suspicious_labels(cells, identity_key="label")
