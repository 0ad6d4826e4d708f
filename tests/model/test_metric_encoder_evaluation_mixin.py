"""The embedding of rows known and new, and what it is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scwhatif.metrics import retrieval_scores
from scwhatif.model import MetricEncoder
from scwhatif.model._metric_encoder_evaluation_mixin import improvement_table


def test_new_rows_need_no_identity(metric_adata: AnnData, metric_model: MetricEncoder):
    new = AnnData(obs=pd.DataFrame(index=["p", "q"]), obsm={"z": metric_adata.obsm["z"][[7, 3]]})
    z = metric_model.get_latent_representation(new)
    np.testing.assert_allclose(z, metric_model.get_latent_representation(indices=[7, 3]), atol=1e-6)
    assert z.dtype == np.float32
    # the model does not keep what it has met
    assert len(metric_model._per_instance_manager_store[metric_model.id]) == 1


def test_indices_and_length(metric_adata: AnnData, metric_model: MetricEncoder):
    z = metric_model.get_latent_representation()
    chosen = np.arange(metric_adata.n_obs) % 5 == 0
    np.testing.assert_allclose(metric_model.get_latent_representation(indices=chosen), z[chosen], atol=1e-6)
    unit = metric_model.get_latent_representation(normalize=True)
    np.testing.assert_allclose(unit, z / np.linalg.norm(z, axis=1, keepdims=True), rtol=1e-5)
    assert metric_model.get_latent_representation(indices=[]).shape == (0, z.shape[1])
    assert not metric_model.module.training


def test_wrong_new_rows(metric_model: MetricEncoder):
    obs = pd.DataFrame(index=["p", "q"])
    with pytest.raises(KeyError, match="obsm_key='z'"):
        metric_model.get_latent_representation(AnnData(obs=obs, obsm={"other": np.ones((2, 8))}))
    with pytest.raises(ValueError, match="has 5 columns; the model was set up with 8"):
        metric_model.get_latent_representation(AnnData(obs=obs, obsm={"z": np.ones((2, 5))}))
    with pytest.raises(ValueError, match="NaN or infinite"):
        metric_model.get_latent_representation(AnnData(obs=obs, obsm={"z": np.full((2, 8), np.nan)}))


def test_improvement_is_that_of_the_validation_rows(metric_adata: AnnData, metric_model: MetricEncoder):
    table = metric_model.get_improvement(n_boot=200)
    rows = np.asarray(metric_model.validation_indices)
    obs = metric_adata.obs.iloc[rows]
    for name, z in (("input", metric_adata.obsm["z"]), ("head", metric_model.get_latent_representation())):
        found = retrieval_scores(z[rows], obs["who"].to_numpy(), exam=obs["when"].to_numpy(), ks=(1,))
        expected = [found["rank@1"].mean(), found["ap"].mean()]
        np.testing.assert_allclose(table[name], expected, atol=1e-4)
    assert table["score"].tolist() == ["rank_1", "map"]
    np.testing.assert_allclose(table["gain"], table["head"] - table["input"])
    for name in ("input", "head", "gain"):
        assert (table[f"{name}_low"] <= table[name] + 1e-9).all()
        assert (table[f"{name}_high"] >= table[name] - 1e-9).all()
    assert table["n_queries"].tolist() == [len(rows)] * 2
    assert table["n_identities"].tolist() == [obs["who"].nunique()] * 2


def test_improvement_on_rows_of_choice(metric_adata: AnnData, metric_model: MetricEncoder):
    rows = np.flatnonzero(metric_adata.obs["who"].isin(["p00", "p01", "p02"]))
    assert metric_model.get_improvement(indices=rows, n_boot=5)["n_queries"].tolist() == [len(rows)] * 2


def test_wrong_improvements(metric_adata: AnnData, metric_model: MetricEncoder):
    with pytest.raises(ValueError, match="n_boot=0"):
        metric_model.get_improvement(n_boot=0)
    with pytest.raises(ValueError, match="confidence=1"):
        metric_model.get_improvement(confidence=1.0)
    MetricEncoder.setup_anndata(metric_adata, identity_key="who", obsm_key="z")
    with pytest.raises(ValueError, match="no validation rows"):
        MetricEncoder(metric_adata).get_improvement()


def test_intervals_resample_identities():
    """Rows of an identity that share their fate say no more than one row of it."""
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(12), 4)
    # half of the identities are found, with all of their rows
    z = rng.normal(size=(48, 30))
    centres = rng.normal(size=(12, 30)) * 5
    z += centres[identity] * (identity % 2 == 0)[:, None]
    table = improvement_table(
        {"input": z, "head": z}, identity, None, np.arange(48), n_boot=2000, confidence=0.95, seed=0
    ).set_index("score")
    found = retrieval_scores(z, identity, ks=(1,))["ap"].groupby(identity).mean()
    width = table.loc["map", "input_high"] - table.loc["map", "input_low"]
    assert width == pytest.approx(2 * 1.96 * found.std(ddof=0) / np.sqrt(12), rel=0.15)
    assert table.loc["map", ["gain", "gain_low", "gain_high"]].tolist() == [0.0, 0.0, 0.0]
