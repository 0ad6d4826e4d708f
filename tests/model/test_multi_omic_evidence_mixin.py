import numpy as np
import pytest

LAYERS = ["drivers", "rna", "protein", "ptm_0", "ptm_1", "metabolome"]


def test_every_layer_has_evidence_from_every_other_and_from_the_same_genes(flow_model):
    experts = flow_model.evidence_["protein"].experts
    assert {"covariates", "drivers", "rna", "ptm_0", "ptm_1", "metabolome", "joint"} <= set(experts)
    assert {"cis:rna", "cis:ptm_0", "cis:ptm_1"} <= set(experts)
    assert not any(name.startswith("cis") for name in flow_model.evidence_["metabolome"].experts)
    assert set(flow_model.evidence_) == set(LAYERS)


def test_rows_are_forgotten(flow_model):
    for evidence in flow_model.evidence_.values():
        assert not evidence.rows
        assert all(len(expert.fit.left_out) == 0 for expert in evidence.experts.values())


def test_share_of_the_latent_path_is_a_share(flow_model):
    for shares in flow_model.latent_share_.values():
        assert set(shares) == {"drivers", "others", "self"}
        assert all(0 <= share <= 1 for share in shares.values())


def test_regressors_are_standardised_and_covariates_one_hot(flow_model):
    batch = flow_model._rows_of(None).batch(flow_model.train_indices)
    values, masks, design = flow_model._regressors(batch)
    for name in ("rna", "ptm_1"):
        measured = np.where(masks[name], values[name], np.nan)
        np.testing.assert_allclose(np.nanmean(measured, axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(np.nanstd(measured, axis=0), 1, atol=1e-4)
        assert not values[name][~masks[name]].any()
    assert design.shape == (len(flow_model.train_indices), 4)
    assert (design.sum(axis=1) == 1).all()


def test_direct_effects_are_those_of_the_fusion(flow_model):
    truth = flow_model.adata["ptm_1"].varm["true_driver_effect"][:, -1]
    fusion = flow_model.driver_effects_["ptm_1"][-1]
    scale = flow_model.module.scale[flow_model.module.columns["ptm_1"]].numpy()
    assert np.corrcoef(fusion * scale, truth)[0, 1] > 0.8
    elsewhere = np.abs(flow_model.driver_effects_["protein"][-1]).mean()
    assert elsewhere < 0.5 * np.abs(fusion).mean()


def test_evidence_predicts_held_out_samples_about_as_well_as_it_says(flow_model):
    test = flow_model.test_indices
    mean, std = flow_model.predict("protein", indices=test, path="evidence", return_std=True)
    y = flow_model.adata["protein"].to_df().reindex(mean.index)
    inside = (y - mean).abs() < 1.645 * std
    assert 0.8 < inside.to_numpy()[y.notna().to_numpy()].mean() < 0.95


def test_unknown_path(flow_model):
    with pytest.raises(ValueError, match="path='cis' is not one of"):
        flow_model.predict("rna", path="cis")
