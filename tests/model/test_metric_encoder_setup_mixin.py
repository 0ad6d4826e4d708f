"""Registration says what is read, and writes nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scwhatif.model import MetricEncoder


@pytest.fixture
def adata() -> AnnData:
    counts = np.random.default_rng(0).poisson(3, (12, 4)).astype(np.float32) + 1
    adata = AnnData(counts, obs=pd.DataFrame({"who": list("aabbccddeeff")}, index=[f"r{i}" for i in range(12)]))
    adata.layers["log"] = np.log1p(counts)
    adata.obsm["z"] = np.random.default_rng(1).normal(size=(12, 3))
    return adata


@pytest.mark.parametrize(
    ("setup", "kind", "n_input"),
    [
        ({}, "counts", 4),
        ({"input_kind": "continuous"}, "continuous", 4),
        ({"layer": "log"}, "continuous", 4),
        ({"obsm_key": "z"}, "continuous", 3),
    ],
)
def test_what_is_read(adata: AnnData, setup: dict, kind: str, n_input: int):
    before = {*adata.uns, *adata.obs, *adata.obsm, *adata.layers}
    MetricEncoder.setup_anndata(adata, identity_key="who", **setup)
    assert {*adata.uns, *adata.obs, *adata.obsm, *adata.layers} - before == {"_scvi_uuid", "_scvi_manager_uuid"}
    model = MetricEncoder(adata)
    assert model._setup["input_kind"] == kind
    assert (model.module.n_input, model.module.counts) == (n_input, kind == "counts")
    assert f"({kind}, {n_input} features)" in str(model._model_summary_string)


def test_no_x_is_needed_for_an_embedding(adata: AnnData):
    bare = AnnData(obs=adata.obs, obsm={"z": adata.obsm["z"]})
    MetricEncoder.setup_anndata(bare, identity_key="who", obsm_key="z")
    np.testing.assert_allclose(MetricEncoder(bare).get_latent_representation(), bare.obsm["z"], atol=1e-6)


def test_wrong_set_ups(adata: AnnData):
    with pytest.raises(ValueError, match="both say what to read"):
        MetricEncoder.setup_anndata(adata, identity_key="who", layer="log", obsm_key="z")
    with pytest.raises(KeyError, match="Did you mean 'who'"):
        MetricEncoder.setup_anndata(adata, identity_key="Who", obsm_key="z")
    adata.obsm["z"][3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        MetricEncoder.setup_anndata(adata, identity_key="who", obsm_key="z")
    assert "_scvi_uuid" not in adata.uns
