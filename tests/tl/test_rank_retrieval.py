"""Retrieval on AnnData with floors beside it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import scwhatif as wi


@pytest.fixture
def adata():
    """Genes with two guides each; cells of a guide also share something of their own."""
    rng = np.random.default_rng(0)
    gene = np.repeat(np.arange(12), 10)
    guide = 2 * gene + np.tile(np.arange(2), 60)
    z = rng.normal(size=(12, 6))[gene] + 0.8 * rng.normal(size=(24, 6))[guide] + 0.5 * rng.normal(size=(120, 6))
    cells = ad.AnnData(
        rng.poisson(3, size=(120, 15)).astype(np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(120)])
    )
    cells.obs["gene"] = [f"g{i}" for i in gene]
    cells.obs["guide"] = [f"s{i}" for i in guide]
    cells.obs["plate"] = pd.Categorical(np.where(np.arange(120) % 3 == 0, "p0", "p1"))
    cells.obsm["X_good"] = z
    cells.obsm["X_noise"] = rng.normal(size=(120, 6))
    return cells


def call(adata, **kwargs):
    settings = {"identity_key": "gene", "use_rep": "X_good", "positive_diff_by": "guide", "n_permutations": 0}
    wi.tl.rank_retrieval(adata, **{**settings, **kwargs})
    return adata.uns["rank_retrieval"]


def test_scores_are_those_of_the_metric(adata):
    found = call(adata, floors=("X_noise", "raw"))
    own = wi.metrics.retrieval_scores(adata.obsm["X_good"], adata.obs["gene"], exam=adata.obs["guide"])
    assert_allclose(adata.obs["rank_retrieval_ap"], own["ap"])
    assert_allclose(adata.obs["rank_retrieval_rank"], own["rank"])
    summary = found["summary"].set_index("rep")
    assert list(summary.index) == ["X_good", "X_noise", "raw", "chance"]
    assert_allclose(summary.loc["X_good", "map"], own["ap"].mean())
    assert_allclose(summary.loc["chance", "map"], own["chance_ap"].mean())
    assert summary.loc["X_good", "low"] < summary.loc["X_good", "map"] < summary.loc["X_good", "high"]
    noise = wi.metrics.retrieval_scores(adata.obsm["X_noise"], adata.obs["gene"], exam=adata.obs["guide"])
    assert_allclose(summary.loc["X_noise", "gain"], (own["ap"] - noise["ap"]).mean())
    assert summary.loc["X_noise", "gain_low"] > 0
    assert found["counts"] == {"n_queries": 120, "n_orphans": 0, "n_identities": 12, "gallery": 115.0}
    assert_allclose(found["identities"]["map"].mean(), summary.loc["X_good", "map_macro"])


def test_allowing_the_same_guide_inflates(adata):
    strict = call(adata)["summary"].set_index("rep").loc["X_good", "rank@1"]
    lenient = call(adata, positive_diff_by=None)["summary"].set_index("rep").loc["X_good", "rank@1"]
    assert lenient > strict + 0.05


def test_orphans_are_counted_and_stay_in_the_gallery(adata):
    adata.obs.loc[adata.obs["gene"] == "g0", "guide"] = "only"
    found = call(adata)
    assert found["counts"]["n_orphans"] == 10
    assert adata.obs["rank_retrieval_ap"].isna().sum() == 10
    naive = adata.obs["rank_retrieval_ap"].fillna(0).mean()
    assert found["summary"]["map"].iloc[0] > naive


def test_pvalue(adata):
    assert call(adata, n_permutations=50)["pval"] == pytest.approx(1 / 51)
    assert call(adata, use_rep="X_noise", n_permutations=50)["pval"] > 0.05
    assert np.isnan(call(adata)["pval"])


def test_centring_takes_a_batch_out(adata):
    shift = np.where(adata.obs["plate"] == "p0", 30.0, 0.0)[:, None] * np.ones(6)
    adata.obsm["X_good"] = adata.obsm["X_good"] + shift
    before = call(adata)["summary"]["map"].iloc[0]
    assert call(adata, center_by="plate")["summary"]["map"].iloc[0] > before + 0.02


def test_fewer_queries_are_drawn_evenly(adata):
    found = call(adata, max_queries=24)
    assert found["counts"]["n_queries"] == 24
    assert list(found["identities"]["n_queries"]) == [2] * 12


def test_untrained_floor():
    adata = wi.datasets.simulate_factors(150, 30, 3, n_cell_types=3, n_batches=2, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    adata.obsm["X_wi"] = model.get_latent_representation()
    wi.tl.rank_retrieval(
        adata, model, identity_key="cell_type", floors=("untrained", "pca"), n_init=2, n_permutations=0
    )
    summary = adata.uns["rank_retrieval"]["summary"].set_index("rep")
    assert summary.loc["untrained", "map_sd"] > 0
    assert summary.loc["pca", ["map_sd"]].isna().all()


def test_written_and_read(adata, tmp_path):
    expected = call(adata, floors=("raw", "pca"), n_permutations=5)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = ad.read_h5ad(tmp_path / "cells.h5ad").uns["rank_retrieval"]
    for name in ("summary", "identities"):
        pd.testing.assert_frame_equal(found[name], expected[name], check_dtype=False)
    assert found["counts"]["n_queries"] == 120


def test_bad_input(adata):
    adata.obs["same"] = "x"
    adata.obs["own"] = adata.obs_names
    for kwargs, error, match in (
        ({"identity_key": "none"}, KeyError, "none"),
        ({"use_rep": "X_none"}, KeyError, "X_none"),
        ({"identity_key": "same"}, ValueError, "one identity only"),
        ({"identity_key": "own", "positive_diff_by": None}, ValueError, "No identity .* has two cells"),
        ({"identity_key": "guide", "positive_diff_by": "guide"}, ValueError, "no cell has an answer"),
        ({"floors": "pca"}, ValueError, "must be a sequence"),
        ({"floors": ("typo",)}, KeyError, "none of"),
        ({"floors": ("untrained",)}, ValueError, "needs the model"),
        ({"max_queries": 0}, ValueError, "max_queries=0"),
        ({"n_permutations": -1}, ValueError, "n_permutations=-1"),
        ({"metric": "cosin"}, ValueError, "metric='cosin'"),
    ):
        with pytest.raises(error, match=match):
            call(adata, **kwargs)
    adata.obs["gene"] = adata.obs["gene"].where(np.arange(120) > 3)
    with pytest.raises(ValueError, match="missing for 4 cells"):
        call(adata)
