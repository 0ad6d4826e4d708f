from __future__ import annotations

import mudata as md
import numpy as np
import pytest
import torch

from scwhatif._mudata import without_pulling
from scwhatif._provenance import weights_hash
from scwhatif.datasets import simulate_flow
from scwhatif.model import MultiOmicLPM

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
SMALL = {"n_drivers": 6, "n_rna": 12, "n_protein": 8, "n_ptm": (5, 4), "n_metabolites": 4, "fusion_layer": 0}


def fit(mdata: md.MuData, setup: dict, epochs: int = 3, **kwargs: object) -> MultiOmicLPM:
    MultiOmicLPM.setup_mudata(mdata, **setup)
    model = MultiOmicLPM(mdata, n_latent=3, n_hidden=16, **kwargs)
    third = mdata.n_obs // 3
    parts = [np.arange(mdata.n_obs - third - 6), np.arange(6) + mdata.n_obs - third - 6]
    parts.append(np.arange(mdata.n_obs - third, mdata.n_obs))
    model.train(epochs, external_indexing=parts, **SILENT)
    return model


def test_the_same_seed_gives_the_same_weights(flow_setup):
    hashes = {weights_hash(fit(simulate_flow(60, **SMALL), flow_setup).module) for _ in range(2)}
    assert len(hashes) == 1


def test_test_samples_take_part_in_nothing(flow_setup):
    clean = fit(simulate_flow(60, **SMALL), flow_setup)
    mdata = simulate_flow(60, **SMALL)
    held_out = mdata.obs_names[40:]
    for name, modality in mdata.mod.items():
        if name != "drivers":
            modality.X[modality.obs_names.isin(held_out)] = 1e3 * np.random.default_rng(0).normal()
    garbage = fit(mdata, flow_setup)
    assert weights_hash(clean.module) == weights_hash(garbage.module)
    assert clean.latent_share_ == garbage.latent_share_
    seen = np.arange(40)
    for target in ("protein", "metabolome"):
        np.testing.assert_array_equal(clean.predict(target, indices=seen), garbage.predict(target, indices=seen))


def test_order_of_the_rows_within_modalities_does_not_matter(flow_setup):
    mdata = simulate_flow(60, **SMALL)
    rng = np.random.default_rng(0)
    with without_pulling():
        other = md.MuData({k: v[rng.permutation(v.n_obs)].copy() for k, v in mdata.mod.items()})
        other = other[mdata.obs_names].copy() if list(other.obs_names) == list(mdata.obs_names) else other
        other.obs["lineage"] = mdata.obs["lineage"].loc[other.obs_names]
    model = fit(mdata, flow_setup)
    for target in ("rna", "ptm_1"):
        expected = model.predict(target)
        found = model.predict(target, other)
        np.testing.assert_allclose(found.loc[expected.index], expected, rtol=1e-4, atol=1e-4)


def test_hidden_is_the_same_as_removed(flow_setup):
    mdata = simulate_flow(60, **SMALL)
    model = fit(mdata, flow_setup)
    nan = mdata.copy()
    nan["protein"].X[:] = np.nan
    others = [name for name in mdata.mod if name not in ("protein", "drivers")]
    np.testing.assert_allclose(
        model.get_latent_representation(nan), model.get_latent_representation(modalities=others), atol=1e-6
    )
    np.testing.assert_allclose(
        model.predict("rna", nan), model.predict("rna", given=[*others[1:], "drivers"]), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("evidence", ["full", "cis", None])
def test_survives_saving(flow_setup, tmp_path, evidence):
    mdata = simulate_flow(60, **SMALL)
    model = fit(mdata, flow_setup, evidence=evidence)
    model.save(str(tmp_path / "model"), save_anndata=False)
    again = MultiOmicLPM.load(str(tmp_path / "model"), mdata, accelerator="cpu")
    for target in ("rna", "ptm_0"):
        np.testing.assert_array_equal(again.predict(target), model.predict(target))
    np.testing.assert_array_equal(again.get_latent_representation(), model.get_latent_representation())
    change, saved = (each.perturb_drivers({"mut_0": 1}) for each in (model, again))
    np.testing.assert_array_equal(change["rna"], saved["rna"])
    assert again.effective_beta_ == model.effective_beta_
    without = MultiOmicLPM.load(str(tmp_path / "model"), False, accelerator="cpu")
    assert weights_hash(without.module) == weights_hash(model.module)


def test_settings_are_told(flow_model):
    text = flow_model._model_summary_string
    n_features = 7 + 40 + 24 + 8 + 16 + 10
    assert flow_model.effective_beta_ == pytest.approx(0.002 * n_features)
    assert f"effective beta {0.002 * n_features:g}" in text
    assert "drivers → rna → protein → ptm_0 → ptm_1 → metabolome" in text
    assert "Latent Perturbation Model" in text


def test_learning_rate_anneals_and_embeddings_do_not_decay(flow_setup):
    mdata = simulate_flow(60, **SMALL)
    MultiOmicLPM.setup_mudata(mdata, **flow_setup)
    model = MultiOmicLPM(mdata, n_latent=3, n_hidden=16)
    model.train(30, learning_rate_monitor=True, **SILENT)
    rates = model.trainer.logged_metrics if not model.history else model.history
    lr = next(np.asarray(rates[key], dtype=float).ravel() for key in rates if key.startswith("lr-"))
    expected = 0.5e-3 * (1 + np.cos(np.pi * np.arange(30) / 30))
    np.testing.assert_allclose(lr, expected, rtol=1e-5)
    assert lr[-1] <= 0.01 * lr[0]
    groups = model.trainer.optimizers[0].param_groups
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    named = dict(model.module.named_parameters())
    assert id(named["encoders.0.identity"]) not in decaying
    assert id(named["likelihoods.1.log_noise"]) not in decaying
    assert id(named["decoders.1.weight"]) in decaying


def test_history_has_elbo_and_the_objective_of_hidden_layers(flow_setup):
    mdata = simulate_flow(60, **SMALL)
    MultiOmicLPM.setup_mudata(mdata, **flow_setup)
    model = MultiOmicLPM(mdata, n_latent=3, n_hidden=16)
    model.train(8, early_stopping=True, plan_kwargs={"lr": 1e-2}, **SILENT)
    for key in ("elbo_train", "elbo_validation", "objective_validation", "kl_z2_train"):
        assert np.isfinite(np.asarray(model.history[key], dtype=float)).all()
    loss = np.asarray(model.history["objective_validation"], dtype=float).ravel()
    assert loss[-1] < loss[0]


def test_other_features_are_refused(flow_model):
    mdata = simulate_flow(
        30, n_drivers=7, n_rna=40, n_protein=24, n_ptm=(8, 16), n_metabolites=10, fusion_layer=1, seed=1
    )
    with pytest.raises(ValueError, match=r"'protein'. must have the 24 features of the model"):
        flow_model.predict("rna", mdata)


def test_counts_and_student(flow_setup):
    mdata = simulate_flow(60, **SMALL, rna_likelihood="nb")
    setup = {**flow_setup, "likelihoods": {"rna": "nb", "protein": "student"}}
    model = fit(mdata, setup, epochs=5)
    rate = model.predict("rna")
    assert (rate >= 0).all().all()
    assert np.isfinite(model.predict("rna", path="latent")).all().all()
    assert np.isfinite(np.asarray(model.history["elbo_train"], dtype=float)).all()


def test_without_drivers_and_without_covariates(flow_setup):
    mdata = simulate_flow(60, **SMALL)
    model = fit(mdata, {**flow_setup, "drivers": None, "categorical_covariate_keys": None})
    assert model.predict("rna").shape == (60, 12)
    assert model.predict("rna", given=[]).nunique().max() == 1
    with pytest.raises(ValueError, match="without any"):
        model.get_latent_representation(which="seed")
    with pytest.raises(ValueError, match="without drivers"):
        model.perturb_drivers({"mut_0": 1})


def test_nothing_but_bookkeeping_is_written(flow_setup):
    mdata = simulate_flow(60, **SMALL)
    before = mdata.copy()
    fit(mdata, flow_setup)
    for name, modality in mdata.mod.items():
        np.testing.assert_array_equal(modality.X, before[name].X)
        assert list(modality.obs.columns) == list(before[name].obs.columns)
        assert list(modality.obs_names) == list(before[name].obs_names)
    assert set(mdata.obsm) - set(before.obsm) == {"_scvi_extra_categorical_covs"}
    assert {key for key in mdata.uns if not key.startswith("_scvi")} == set(before.uns)
    assert list(mdata.obs.columns) == list(before.obs.columns)


def test_weights_stay_on_the_device_they_were_made_on(flow_model):
    assert next(flow_model.module.parameters()).device == torch.device("cpu")
