"""Answers about drivers: equal to asking the models one by one through their public methods."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import scwhatif as wi
from scwhatif.tl._driver_effects import DriverEffects, driver_strata

SETUP = {
    "rna": "rna",
    "ptm": ["ptm_0", "ptm_1"],
    "likelihoods": {"rna": "nb"},
    "categorical_covariate_keys": ["lineage"],
}


@pytest.fixture(scope="module")
def mdata():
    return wi.datasets.simulate_flow(
        90, n_drivers=5, n_rna=12, n_protein=6, n_ptm=(5, 6), n_metabolites=4, fusion_layer=1, rna_likelihood="nb"
    )


@pytest.fixture(scope="module")
def models(mdata):
    wi.model.MultiOmicLPM.setup_mudata(mdata, **SETUP)
    fitted = []
    for test in np.array_split(np.arange(90), 2):
        train = np.setdiff1d(np.arange(90), test)
        model = wi.model.MultiOmicLPM(mdata, n_latent=3, n_hidden=8, seed=len(fitted))
        model.train(2, external_indexing=[train[6:], train[:6], test], enable_progress_bar=False)
        fitted.append(model)
    return fitted


@pytest.mark.parametrize("driver", ["mut_1", "fusion"])
def test_residuals_are_what_predict_leaves_with_the_driver_at_0(mdata, models, driver: str):
    question = DriverEffects(mdata, models)
    answer = question.answer(driver)
    without = mdata.copy()
    column = without["drivers"].var_names.get_loc(driver)
    calls = mdata["drivers"].to_df()[driver].reindex(mdata.obs_names).to_numpy()
    without["drivers"].X[:, column] = 0.0
    for name, columns in question.columns.items():
        values = mdata[name].to_df().reindex(mdata.obs_names).to_numpy(dtype=float)
        if name == "rna":
            place = models[0].layer_names.index("rna")
            total = np.nansum(values, axis=1, keepdims=True)
            with np.errstate(invalid="ignore"):
                values = values / total * float(models[0].module.median_total[place])
        for model in models:
            rows = [row for row in model.test_indices if not np.isnan(calls[row])]
            expected = values[rows] - model.predict(name, without, given=["drivers"], indices=rows).to_numpy()
            assert np.allclose(answer.residuals[rows, columns], expected, atol=1e-3, equal_nan=True)
    assert np.array_equal(answer.x, calls, equal_nan=True)
    assert np.isnan(answer.residuals[np.isnan(calls)]).all()


@pytest.mark.parametrize("set_to", [0, 1])
def test_effects_are_means_over_edited_samples(mdata, models, set_to: int):
    question = DriverEffects(mdata, models, layers="ptm_1", set_to=set_to)
    answer = question.answer("mut_0")
    calls = mdata["drivers"].to_df()["mut_0"].reindex(mdata.obs_names).to_numpy()
    changes, steps, means = [], [], []
    for model in models:
        rows = [row for row in model.test_indices if calls[row] == 1 - set_to]
        changes.append(model.perturb_drivers({"mut_0": set_to}, targets=["ptm_1"], indices=rows)["ptm_1"].to_numpy())
        step = model.get_driver_shift({"mut_0": set_to}, indices=rows)
        inverse = np.linalg.inv(model.module.latent_covariance.numpy().astype(float))
        steps.append(np.sqrt(np.einsum("ij,jk,ik->i", step, inverse, step)))
        means.append(changes[-1].mean(axis=0))
    assert np.allclose(answer.effect, np.concatenate(changes).mean(axis=0), atol=1e-6)
    assert np.isclose(answer.shift, np.concatenate(steps).mean(), rtol=1e-4)
    assert answer.n_models == 2
    ratio = np.mean([np.isfinite(calls[model.test_indices]).sum() / 45 for model in models])
    assert np.allclose(answer.effect_se, np.std(means, axis=0, ddof=1) * np.sqrt(1 / 2 + ratio), rtol=1e-4)


def test_samples_nobody_may_be_asked_about(mdata, models):
    question = DriverEffects(mdata, models[:1], layers=["ptm_0"])
    answer = question.answer("mut_0")
    outside = np.setdiff1d(np.arange(90), models[0].test_indices)
    assert np.isnan(answer.x[outside]).all()
    assert np.isnan(answer.residuals[outside]).all()
    assert answer.n_models == 1
    assert np.isnan(answer.effect_se).all()


def test_nobody_carries_the_driver(mdata, models):
    none = mdata.copy()
    none["drivers"].X[:, 0] = np.where(np.isnan(none["drivers"].X[:, 0]), np.nan, 0)
    answer = DriverEffects(none, models).answer("mut_0")
    assert answer.n_models == 0
    assert np.isnan(answer.effect).all()
    assert np.isnan(answer.shift)
    assert np.isfinite(answer.residuals).any()


def test_order_and_storage_of_samples_do_not_matter(mdata, models):
    turned = mdata.copy()
    # MuData cannot take rows of a table in obsm by name
    del turned.obsm["_scvi_extra_categorical_covs"]
    turned = turned[mdata.obs_names[::-1]].copy()
    turned["rna"].X = sparse.csr_matrix(turned["rna"].X)
    here, there = (DriverEffects(each, models).answer("mut_0") for each in (mdata, turned))
    place = turned.obs_names.get_indexer(mdata.obs_names)
    assert not np.array_equal(place, np.arange(90))
    assert np.allclose(here.residuals, there.residuals[place], atol=1e-3, equal_nan=True)
    assert np.allclose(here.effect, there.effect, atol=1e-4)


def test_strata(mdata, models):
    keys, codes = driver_strata(mdata, models[0], None)
    assert keys == ["lineage"]
    assert len(np.unique(codes)) == 4
    assert (np.unique(codes[mdata.obs["lineage"] == "lineage_2"]).size) == 1
    assert np.unique(driver_strata(mdata, models[0], [])[1]).tolist() == [0]
    both = mdata.copy()
    both.obs["half"] = np.arange(90) < 45
    assert len(np.unique(driver_strata(both, models[0], ["lineage", "half"])[1])) == 8
    with pytest.raises(KeyError, match="strata names 'tissue'"):
        driver_strata(mdata, models[0], "tissue")
    both.obs["half"] = [None, *["a"] * 89]
    with pytest.raises(ValueError, match=r"\(strata\) is missing for"):
        driver_strata(both, models[0], "half")


def test_bad_input(mdata, models):
    with pytest.raises(KeyError, match=r"layers names \['protein'\]"):
        DriverEffects(mdata, models, layers=["rna", "protein"])
    with pytest.raises(ValueError, match="layers is empty"):
        DriverEffects(mdata, models, layers=[])
    with pytest.raises(ValueError, match="set_to=2"):
        DriverEffects(mdata, models, set_to=2)
    wi.model.MultiOmicLPM.setup_mudata(mdata, drivers=None, protein="protein", **SETUP)
    model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4)
    model.train(1, enable_progress_bar=False)
    with pytest.raises(ValueError, match="set up without drivers"):
        DriverEffects(mdata, model)
