"""Health of an embedding of cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    cells = ad.AnnData(np.zeros((600, 2), np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(600)]))
    cells.obs["group"] = pd.Categorical(np.array(["a", "b", "c"])[np.arange(600) % 3])
    cells.obsm["X_round"] = rng.normal(size=(600, 16)).astype(np.float32)
    broken = cells.obsm["X_round"].copy()
    broken[cells.obs["group"] == "b"] = broken[1] + 1e-3 * broken[cells.obs["group"] == "b"]
    cells.obsm["X_broken"] = broken
    cells.obsm["X_half"] = cells.obsm["X_round"] * np.where(np.arange(16) < 4, 1.0, 0.05)
    return cells


def test_healthy(adata):
    wi.tl.embedding_health(adata, use_rep="X_round", groupby="group")
    found = adata.uns["embedding_health"]
    assert (found["verdict"], found["status"], len(found["reasons"])) == ("ok", "ok", 0)
    assert list(found["groups"]["verdict"]) == ["ok"] * 3
    assert list(found["groups"]["n"]) == [200] * 3
    metrics = found["metrics"].set_index("metric")["value"]
    expected = wi.metrics.embedding_indicators(adata.obsm["X_round"], groups=adata.obs["group"])
    assert metrics.to_dict() == pytest.approx(expected)
    assert found["spectrum"].sum() == pytest.approx(1.0)
    assert found["spectrum"][0] == metrics["top1"]


def test_a_group_that_became_a_point_is_lost_in_the_whole(adata):
    wi.tl.embedding_health(adata, use_rep="X_broken")
    assert adata.uns["embedding_health"]["verdict"] == "ok"
    wi.tl.embedding_health(adata, use_rep="X_broken", groupby="group")
    found = adata.uns["embedding_health"]
    assert (found["verdict"], found["status"]) == ("group", "error")
    assert list(found["reasons"]) == ["group 'b' has collapsed (point)"]
    assert list(found["groups"]["verdict"]) == ["ok", "point", "ok"]


def test_one_far_cell_is_no_collapse_of_groups(adata):
    for name in ("X_round", "X_broken"):
        adata.obsm[name][0] *= 1000
    wi.tl.embedding_health(adata, use_rep="X_round", groupby="group")
    found = adata.uns["embedding_health"]
    assert (found["verdict"], found["status"], len(found["reasons"])) == ("outlier", "warn", 1)
    assert list(found["groups"]["verdict"]) == ["ok"] * 3
    assert found["groups"]["variance_share"].between(0.9, 1.1).all()
    # and does not hide one either
    wi.tl.embedding_health(adata, use_rep="X_broken", groupby="group")
    found = adata.uns["embedding_health"]
    assert (found["verdict"], found["status"]) == ("group", "error")
    assert list(found["groups"]["verdict"]) == ["ok", "point", "ok"]


@pytest.mark.parametrize("noise", [0, 0.1, 0.3])
def test_class_means_alone_are_not_called_a_collapsed_group(adata, noise):
    means = 3 * np.random.default_rng(1).normal(size=(3, 16))
    adata.obsm["X_means"] = means[adata.obs["group"].cat.codes] + noise * adata.obsm["X_round"]
    wi.tl.embedding_health(adata, use_rep="X_means", groupby="group")
    found = adata.uns["embedding_health"]
    assert (found["verdict"], found["status"], len(found["reasons"])) == ("label_only", "warn", 1)
    assert list(found["groups"]["verdict"]) == ["point" if noise < 0.3 else "ok"] * 3


def test_groups_with_too_few_cells_are_not_judged(adata):
    few = adata[np.r_[0:300:3, 1:30:3, 2:600:3]].copy()
    wi.tl.embedding_health(few, use_rep="X_broken", groupby="group")
    assert list(few.uns["embedding_health"]["groups"]["verdict"]) == ["ok", "too few", "ok"]


def test_rank_lost_against_a_reference(adata):
    wi.tl.embedding_health(adata, use_rep="X_half", reference="X_round")
    found = adata.uns["embedding_health"]
    assert found["status"] == "warn"
    assert "in 'X_round'" in found["reasons"][-1]
    metrics = found["metrics"].set_index("metric")
    assert metrics.loc["erank_ratio", "reference"] > 2 * metrics.loc["erank_ratio", "value"]


def test_thresholds(adata):
    wi.tl.embedding_health(adata, use_rep="X_round", thresholds={"top1": (0.01, 0.05)})
    assert adata.uns["embedding_health"]["verdict"] == "dimensional"


def test_dead_posterior():
    adata = wi.datasets.simulate_factors(300, 30, 4, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, beta=1e4, seed=0)
    model.train(max_epochs=5, seed=0, enable_progress_bar=False)
    adata.obsm["X_wi"] = model.get_latent_representation()
    found = wi.tl.embedding_health(adata, model, copy=True).uns["embedding_health"]
    assert found["verdict"] in ("posterior", "point")
    assert found["params"]["model_class"] == "BetaLinearSCVI"
    assert "embedding_health" not in adata.uns


def test_written_and_read(adata, tmp_path):
    wi.tl.embedding_health(
        adata, use_rep="X_half", groupby="group", reference="X_round", thresholds={"top1": (0.4, 0.6)}
    )
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = ad.read_h5ad(tmp_path / "cells.h5ad").uns["embedding_health"]
    expected = adata.uns["embedding_health"]
    for name in ("metrics", "groups"):
        pd.testing.assert_frame_equal(found[name], expected[name], check_dtype=False)
    assert list(found["reasons"]) == list(expected["reasons"])


def test_bad_input(adata):
    with pytest.raises(KeyError, match="X_none"):
        wi.tl.embedding_health(adata, use_rep="X_none")
    with pytest.raises(KeyError, match="X_none"):
        wi.tl.embedding_health(adata, use_rep="X_round", reference="X_none")
    with pytest.raises(KeyError, match="no_column"):
        wi.tl.embedding_health(adata, use_rep="X_round", groupby="no_column")
    with pytest.raises(KeyError, match=r"\['typo'\] are not among them"):
        wi.tl.embedding_health(adata, use_rep="X_round", thresholds={"typo": (0.1, 0.2)})
    adata.obsm["X_round"][5, 2] = np.inf
    with pytest.raises(ValueError, match="X_round"):
        wi.tl.embedding_health(adata, use_rep="X_round")
    with pytest.warns(UserWarning, match="fewer than 8 per dimension"):
        wi.tl.embedding_health(adata[:100].copy(), use_rep="X_half")
