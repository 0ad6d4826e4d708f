"""Geometry of groups of cells, and what shuffled groups give."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    cells = ad.AnnData(np.zeros((300, 2), np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(300)]))
    code = np.repeat([0, 1, 2], [150, 100, 50])
    cells.obs["group"] = pd.Categorical(np.array(["a", "b", "c"])[code])
    cells.obsm["X_wi"] = rng.normal(size=(300, 8)) + 3 * np.eye(3, 8)[code]
    cells.obsm["X_noise"] = rng.normal(size=(300, 8))
    return cells


def test_as_the_metric_and_chance(adata):
    wi.tl.cluster_geometry(adata, groupby="group")
    found = adata.uns["cluster_geometry"]
    expected = wi.metrics.cluster_geometry(adata.obsm["X_wi"], adata.obs["group"])
    scores = found["scores"].set_index("score")
    assert scores["value"].to_dict() == pytest.approx(expected.scores)
    pd.testing.assert_frame_equal(found["groups"].reset_index(drop=True), expected.groups.reset_index(drop=True))
    assert scores.loc["ratio", "shuffled"] == pytest.approx(1, abs=0.02)
    # chance that two cells share a group
    assert scores.loc["nn_accuracy", "shuffled"] == pytest.approx((0.5**2 + (1 / 3) ** 2 + (1 / 6) ** 2), abs=0.03)
    assert scores.loc["nn_accuracy", "value"] > 0.8
    assert scores.loc["calinski_harabasz", "shuffled"] == pytest.approx(1, abs=0.5)


def test_noise_is_as_shuffled(adata):
    wi.tl.cluster_geometry(adata, groupby="group", use_rep="X_noise")
    scores = adata.uns["cluster_geometry"]["scores"].set_index("score")
    assert scores.loc["ratio", "value"] == pytest.approx(scores.loc["ratio", "shuffled"], abs=0.02)
    assert scores.loc["nn_accuracy", "value"] == pytest.approx(scores.loc["nn_accuracy", "shuffled"], abs=0.07)


def test_written_and_read(adata, tmp_path):
    found = wi.tl.cluster_geometry(adata, groupby="group", max_queries=None, n_shuffles=0, copy=True)
    assert "cluster_geometry" not in adata.uns
    assert found.uns["cluster_geometry"]["scores"]["shuffled"].isna().all()
    found.write_h5ad(tmp_path / "cells.h5ad")
    read = ad.read_h5ad(tmp_path / "cells.h5ad").uns["cluster_geometry"]
    for name in ("scores", "groups"):
        pd.testing.assert_frame_equal(read[name], found.uns["cluster_geometry"][name], check_dtype=False)


def test_bad_input(adata):
    with pytest.raises(KeyError, match="no_column"):
        wi.tl.cluster_geometry(adata, groupby="no_column")
    with pytest.raises(KeyError, match="X_none"):
        wi.tl.cluster_geometry(adata, groupby="group", use_rep="X_none")
    with pytest.raises(ValueError, match="n_shuffles=-1"):
        wi.tl.cluster_geometry(adata, groupby="group", n_shuffles=-1)
    adata.obsm["X_wi"][3] = 0
    with pytest.raises(ValueError, match="1 rows of the embedding have length 0"):
        wi.tl.cluster_geometry(adata, groupby="group")
