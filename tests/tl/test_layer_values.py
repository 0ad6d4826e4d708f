"""Tests of reading and predicting layers on one scale."""

from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.tl._layer_values import layer_values, predict_standardized, scale_of, training_rows

SETUP = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "metabolome": "metabolome"}


@pytest.fixture(scope="module")
def model():
    mdata = wi.datasets.simulate_flow(
        60, n_rna=8, n_protein=6, n_ptm=(5,), n_metabolites=4, fusion_layer=0, rna_likelihood="nb"
    )
    wi.model.MultiOmicLPM.setup_mudata(mdata, **SETUP, likelihoods={"rna": "nb"})
    model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4)
    rows = np.random.default_rng(0).permutation(60)
    model.train(1, external_indexing=[rows[:40], rows[40:45], rows[45:]], enable_progress_bar=False)
    return model


def test_values_are_standardised_by_the_training_samples(model):
    rows = np.array([3, 50, 7])
    found = layer_values(model, model.adata, rows)
    frame = model.adata["protein"].to_df().reindex(model.adata.obs_names)
    training = frame.iloc[np.sort(model.train_indices)]
    wanted = (frame.iloc[rows] - training.mean()) / training.std(ddof=0)
    np.testing.assert_allclose(found.values["protein"], wanted.fillna(0), atol=1e-4)
    np.testing.assert_array_equal(found.observed["protein"], wanted.notna())
    np.testing.assert_allclose(scale_of(model, "protein"), training.std(ddof=0), rtol=1e-4)


def test_present_needs_all_layers(model):
    found = layer_values(model, None, np.arange(60))
    both = found.present(["protein", "rna"])
    np.testing.assert_array_equal(both, found.present(["protein"]) & found.present(["rna"]))
    assert 0 < both.sum() < found.present(["rna"]).sum()
    assert found.present([]).all()


@pytest.mark.parametrize("target", ["protein", "rna"])
def test_predictions_are_on_the_scale_of_the_values(model, target):
    rows = np.arange(0, 60, 2)
    found = predict_standardized(model, model.adata, rows, target=target, given=["ptm_0"])
    predicted = model.predict(target, given=["ptm_0"], indices=rows).to_numpy()
    value = np.log1p(predicted) if target == "rna" else predicted
    location = model.module.location[model.module.columns[target]].numpy()
    np.testing.assert_allclose(found, (value - location) / scale_of(model, target), atol=1e-5)
    measured = layer_values(model, None, rows)
    error = np.square(found - measured.values[target])[measured.observed[target]].mean()
    assert error < 1.3


def test_training_rows_are_all_but_the_test_samples(model):
    np.testing.assert_array_equal(training_rows(model), np.setdiff1d(np.arange(60), model.test_indices))


def test_a_model_without_its_data_is_refused(model, tmp_path):
    model.save(str(tmp_path / "model"), save_anndata=False)
    again = wi.model.MultiOmicLPM.load(str(tmp_path / "model"), False, accelerator="cpu")
    with pytest.raises(ValueError, match="loaded without its data"):
        training_rows(again)
