"""Scores of a fold against loops over its features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from scwhatif.datasets import simulate_flow
from scwhatif.model import MultiOmicLPM
from scwhatif.tl._cv_scores import _ridge, r2_scores, read_layers, score_fold
from scwhatif.tl._cv_splits import Split

SMALL = {"n_drivers": 6, "n_rna": 12, "n_protein": 8, "n_ptm": (5, 4), "n_metabolites": 4, "fusion_layer": 0}
SETUP = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0", "ptm_1"], "metabolome": "metabolome"}
SPLIT = Split(0, 2, np.arange(50), np.arange(50, 60), np.arange(60, 80))


def fitted(*, covariates: bool = True, **kwargs: object) -> MultiOmicLPM:
    mdata = simulate_flow(80, **SMALL, **kwargs)
    likelihoods = {"rna": "nb"} if kwargs else {}
    keys = ["lineage"] if covariates else None
    MultiOmicLPM.setup_mudata(mdata, **SETUP, likelihoods=likelihoods, categorical_covariate_keys=keys)
    model = MultiOmicLPM(mdata, n_latent=3, n_hidden=8)
    parts = [SPLIT.train, SPLIT.validation, SPLIT.test]
    model.train(3, external_indexing=parts, enable_progress_bar=False, accelerator="cpu")
    return model


@pytest.fixture(scope="module")
def model() -> MultiOmicLPM:
    return fitted()


@pytest.fixture(scope="module")
def table(model: MultiOmicLPM) -> pd.DataFrame:
    targets = ["rna", "protein", "metabolome"]
    rows = score_fold(model, SPLIT, targets=targets, baselines=["mean", "covariates", "ridge"], method="ours")
    return pd.DataFrame(rows).set_index(["layer", "inputs", "method"])


def test_r2_equals_a_loop_over_features():
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(9, 4)), rng.normal(size=(9, 4))
    observed = rng.random((9, 4)) < 0.7
    observed[1:, 3] = False
    observed[0] = [False, False, False, True]
    expected = []
    for j in range(3):
        rows = observed[:, j]
        y, p = truth[rows, j], prediction[rows, j]
        expected.append(1 - ((y - p) ** 2).sum() / (y**2).sum())
    found = r2_scores(truth, observed, prediction)
    assert found["r2"] == pytest.approx(np.mean(expected))
    assert found["r2_median"] == pytest.approx(np.median(expected))
    pooled = 1 - ((truth - prediction)[observed] ** 2).sum() / (truth[observed] ** 2).sum()
    assert found["r2_pooled"] == pytest.approx(pooled)
    assert found["n_samples"] == observed.any(axis=1).sum()


def test_r2_of_what_was_not_measured():
    found = r2_scores(np.zeros((3, 2)), np.zeros((3, 2), bool), np.zeros((3, 2)))
    assert all(np.isnan(found[name]) for name in ("r2", "r2_median", "r2_pooled"))
    assert found["n_samples"] == 0


@pytest.mark.parametrize("inputs", ["reconstruction", "imputation", "drivers"])
def test_model_scores_equal_frames_compared_by_name(model: MultiOmicLPM, table: pd.DataFrame, inputs: str):
    mdata = model.adata
    given = {"reconstruction": model.layer_names, "imputation": None, "drivers": ["drivers"]}[inputs]
    for target in ("rna", "protein", "metabolome"):
        y = mdata[target].to_df().reindex(mdata.obs_names)
        train, test = y.iloc[:60], y.iloc[60:]
        prediction = model.predict(target, given=given, indices=SPLIT.test)
        error, total = ((test - prediction) ** 2).sum(), ((test - train.mean()) ** 2).sum()
        row = table.loc[(target, inputs, "ours")]
        assert row["r2"] == pytest.approx((1 - error / total)[test.notna().sum() >= 2].mean(), abs=1e-5)
        assert row["n_samples"] == test.notna().any(axis=1).sum()


def test_coverage_is_the_share_within_the_interval(model: MultiOmicLPM, table: pd.DataFrame):
    mean, sd = model.predict("protein", indices=SPLIT.test, return_std=True)
    test = model.adata["protein"].to_df().reindex(mean.index)
    within = ((test - mean).abs() <= 1.6449 * sd).to_numpy()[test.notna().to_numpy()]
    assert table.loc[("protein", "imputation", "ours"), "coverage"] == pytest.approx(within.mean(), abs=1e-6)
    assert table["coverage"].xs("ours", level="method").xs("reconstruction", level="inputs").isna().all()
    assert table["coverage"].xs("ridge", level="method").isna().all()


def test_baselines(table: pd.DataFrame):
    mean = table.xs("mean", level="method")
    assert (mean[["r2", "r2_median", "r2_pooled"]] == 0).all(axis=None)
    covariates = table.xs("covariates", level="method")["r2"].unstack()
    assert covariates.nunique(axis=1).eq(1).all()
    assert ("rna", "reconstruction", "ridge") not in table.index
    assert {("rna", "imputation", "ridge"), ("rna", "drivers", "ridge")} <= set(table.index)


def test_ridge_is_the_ridge_of_scikit_learn(model: MultiOmicLPM):
    outside = np.arange(60)
    layers = read_layers(model, outside)
    seen = layers.observed["rna"].any(axis=1)
    rows = outside[seen[outside]]
    found = _ridge(layers, "rna", ["drivers"], outside, SPLIT.test)
    x = np.hstack([layers.values["drivers"], layers.design])
    y = layers.values["rna"]
    variance = np.square(x[rows] - x[rows].mean(axis=0)).sum()
    candidates = [
        Ridge(alpha=variance * share).fit(x[rows], y[rows]).predict(x[SPLIT.test])
        for share in np.geomspace(1e-5, 10, 16)
    ]
    distance = np.abs(np.stack(candidates) - found).max(axis=1).min(axis=0)
    np.testing.assert_allclose(distance, 0, atol=1e-5)


def test_standardised_by_the_samples_outside_the_fold(model: MultiOmicLPM):
    layers = read_layers(model, np.arange(60))
    for name, values in layers.values.items():
        seen = layers.observed[name][:60]
        mean = np.where(seen, values[:60], 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        np.testing.assert_allclose(mean, 0, atol=1e-6)
    np.testing.assert_allclose(layers.design[:60].mean(axis=0), 0, atol=1e-12)
    assert layers.design.shape == (80, 4)


def test_counts_are_scored_on_the_log_scale():
    model = fitted(rna_likelihood="nb", covariates=False)
    rows = score_fold(model, SPLIT, targets=["rna", "drivers"], baselines=["covariates", "ridge"], method="ours")
    table = pd.DataFrame(rows).set_index(["layer", "inputs", "method"])
    assert table.loc[("rna", "imputation", "ours"), "r2"] > 0
    assert np.isnan(table.loc[("rna", "imputation", "ours"), "coverage"])
    # no covariates, no such baseline; drivers from drivers are a reconstruction
    assert "covariates" not in table.index.get_level_values("method")
    assert ("drivers", "drivers", "ours") not in table.index
    assert ("drivers", "imputation", "ours") in table.index
