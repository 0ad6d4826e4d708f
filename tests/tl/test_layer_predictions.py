"""Tests of held-out predictions by what models look at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scwhatif as wi
from scwhatif._mudata import without_pulling
from scwhatif.tl._fold_models import fold_models
from scwhatif.tl._layer_predictions import layers_of, predict_held_out

SETUP = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "metabolome": "metabolome"}


@pytest.fixture(scope="module")
def mdata():
    return wi.datasets.simulate_flow(60, n_rna=8, n_protein=6, n_ptm=(5,), n_metabolites=4, fusion_layer=0)


@pytest.fixture(scope="module")
def models(mdata):
    found = []
    for test in (range(25), range(25, 60)):
        wi.model.MultiOmicLPM.setup_mudata(mdata, **SETUP, categorical_covariate_keys=["lineage"])
        model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4)
        others = np.setdiff1d(np.arange(60), test)
        model.train(1, external_indexing=[others[5:], others[:5], np.asarray(test)], enable_progress_bar=False)
        found.append(model)
    return found


def test_every_sample_is_predicted_by_the_model_that_has_not_seen_it(mdata, models):
    strata = pd.factorize(mdata.obs["lineage"])[0].astype(np.int64)
    given = [("rna", "protein"), (), ("rna", "protein")]
    found = predict_held_out(
        fold_models(mdata, models), mdata, "metabolome", given=given, strata=strata, require=["ptm_0"]
    )
    assert set(found.predicted) == {("rna", "protein"), ()}
    truth = mdata["metabolome"].to_df().reindex(mdata.obs_names)
    site = mdata["ptm_0"].to_df().reindex(mdata.obs_names)
    start = 0
    for fold, model in zip(found.folds, models, strict=True):
        there = truth.notna().any(axis=1).to_numpy() & site.notna().any(axis=1).to_numpy()
        rows = np.intersect1d(np.flatnonzero(there), model.test_indices)
        np.testing.assert_array_equal(fold.rows, rows)
        part = slice(start, start + len(rows))
        start += len(rows)
        mean = truth.iloc[np.sort(model.train_indices)].mean().to_numpy()
        np.testing.assert_allclose(
            found.held_out.truth[part], truth.iloc[rows].fillna(0) - mean * truth.iloc[rows].notna(), atol=1e-5
        )
        np.testing.assert_array_equal(found.held_out.observed[part], truth.iloc[rows].notna())
        for names, predicted in found.predicted.items():
            wanted = model.predict("metabolome", given=names, indices=rows) - mean
            np.testing.assert_allclose(predicted[part], wanted, atol=1e-4)
        called = mdata["drivers"].to_df().reindex(mdata.obs_names).iloc[rows].notna().any(axis=1)
        np.testing.assert_array_equal(found.present["drivers"][part], called)
        of_row = pd.Series(strata[rows])
        of_stratum = pd.Series(found.held_out.stratum[part])
        assert (of_stratum.groupby(of_row).nunique() == 1).all()
        assert (of_row.groupby(of_stratum).nunique() == 1).all()
    assert start == len(found.held_out.truth)
    assert found.held_out.unit.max() == 1
    assert found.sizes == (30.0, 30.0)


def test_samples_are_the_units_of_a_single_model(mdata, models):
    strata = np.zeros(60, dtype=np.int64)
    found = predict_held_out(fold_models(mdata, models[:1]), mdata, "rna", given=[()], strata=strata)
    n = len(found.held_out.truth)
    np.testing.assert_array_equal(found.held_out.unit, np.arange(n))
    assert found.sizes == (np.inf, 1.0)


def test_too_few_samples(mdata, models):
    with without_pulling():
        few = mdata[mdata.obs_names[:8]].copy()
    found = fold_models(few, models[0])
    with pytest.raises(ValueError, match=r"Only \d sample\(s\) asked about have all of 'rna', 'protein'"):
        predict_held_out(found, few, "rna", given=[()], strata=np.zeros(8, dtype=np.int64), require=["protein"])


def test_layers(models):
    model = models[0]
    assert layers_of(model, None, ["ptm_0"], "layers") == ["ptm_0"]
    assert layers_of(model, "rna", [], "layers") == ["rna"]
    assert layers_of(model, ["rna", "protein", "rna"], [], "layers") == ["rna", "protein"]
    with pytest.raises(KeyError, match=r"layers names .'acetyl'., which are not layers of the model"):
        layers_of(model, ["rna", "acetyl"], [], "layers")
    with pytest.raises(ValueError, match="target names no layer"):
        layers_of(model, None, [], "target")
