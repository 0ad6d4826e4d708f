"""Odd input of the multi-omic model, from set-up through training to what is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mudata as md
import numpy as np
import pytest

from scwhatif._mudata import without_pulling
from scwhatif._provenance import weights_hash
from scwhatif.datasets import simulate_flow
from scwhatif.model import MultiOmicLPM

if TYPE_CHECKING:
    from collections.abc import Callable

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
SETUP = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "metabolome": "metabolome"}
N = 60
TRAIN, VALIDATION, TEST = np.arange(40), np.arange(40, 46), np.arange(46, N)
SEEN = np.arange(46)


def flow(**kwargs: object) -> md.MuData:
    return simulate_flow(N, n_rna=12, n_protein=8, n_ptm=(5,), n_metabolites=4, fusion_layer=0, n_drivers=6, **kwargs)


def fit(mdata: md.MuData, **kwargs: object) -> MultiOmicLPM:
    MultiOmicLPM.setup_mudata(mdata, **{**SETUP, **kwargs})
    model = MultiOmicLPM(mdata, n_latent=3, n_hidden=8)
    model.train(2, external_indexing=[TRAIN, VALIDATION, TEST], **SILENT)
    return model


def rows_of(mdata: md.MuData, name: str, positions: np.ndarray) -> np.ndarray:
    """Rows of a modality that are among these samples."""
    return mdata[name].obs_names.isin(mdata.obs_names[positions])


def check_finite(model: MultiOmicLPM) -> None:
    """Everything that the model says is finite."""
    for target in model.layer_names:
        for given in (None, [], ["rna"]):
            assert np.isfinite(model.predict(target, given=given)).all().all(), (target, given)
    assert np.isfinite(model.get_latent_representation()).all()
    for change in model.perturb_drivers({"mut_0": 1}, indices=TEST).values():
        assert np.isfinite(change.dropna()).all().all()
    assert np.isfinite(np.asarray(model.history["elbo_train"], dtype=float)).all()


def test_rows_of_modalities_in_another_order_give_the_same_fit():
    mdata = flow()
    rng = np.random.default_rng(0)
    with without_pulling():
        other = md.MuData({name: each[rng.permutation(each.n_obs)].copy() for name, each in mdata.mod.items()})
    # the model goes by the order of the samples, so that one has to be the same
    order = other.obs_names.get_indexer(mdata.obs_names)
    MultiOmicLPM.setup_mudata(other, **SETUP)
    again = MultiOmicLPM(other, n_latent=3, n_hidden=8)
    again.train(2, external_indexing=[order[TRAIN], order[VALIDATION], order[TEST]], **SILENT)
    model = fit(mdata)
    expected, found = model.predict("protein", path="evidence"), again.predict("protein", path="evidence")
    np.testing.assert_allclose(found.loc[expected.index], expected, rtol=1e-4, atol=1e-4)
    for name in ("location", "scale"):
        np.testing.assert_allclose(getattr(again.module, name), getattr(model.module, name), rtol=1e-5, atol=1e-6)


def _feature_not_measured(mdata: md.MuData) -> None:
    mdata["protein"].X[rows_of(mdata, "protein", SEEN), 3] = np.nan


def _feature_constant(mdata: md.MuData) -> None:
    mdata["protein"].X[rows_of(mdata, "protein", SEEN), 3] = 1.5


def _layer_not_measured(mdata: md.MuData) -> None:
    mdata["protein"].X[rows_of(mdata, "protein", SEEN)] = np.nan


def _layer_in_few(mdata: md.MuData) -> None:
    mdata["protein"].X[rows_of(mdata, "protein", np.arange(4, 46))] = np.nan


def _no_carrier(mdata: md.MuData) -> None:
    mdata["drivers"].X[rows_of(mdata, "drivers", SEEN), 0] = 0.0


def _all_carriers(mdata: md.MuData) -> None:
    mdata["drivers"].X[rows_of(mdata, "drivers", SEEN), 0] = 1.0


def _not_called(mdata: md.MuData) -> None:
    mdata["drivers"].X[rows_of(mdata, "drivers", SEEN), 0] = np.nan


def _one_lineage(mdata: md.MuData) -> None:
    mdata.obs["lineage"] = np.where(np.isin(np.arange(N), TEST), "new", "old")


@pytest.mark.parametrize(
    "spoil",
    [
        _feature_not_measured,
        _feature_constant,
        _layer_not_measured,
        _layer_in_few,
        _no_carrier,
        _all_carriers,
        _not_called,
        _one_lineage,
    ],
)
def test_what_varies_in_all_samples_but_not_among_those_fitted(spoil: Callable[[md.MuData], None]):
    mdata = flow()
    spoil(mdata)
    model = fit(mdata, categorical_covariate_keys=["lineage"])
    check_finite(model)


def test_a_feature_without_a_value_is_predicted_at_its_mean_in_new_samples():
    mdata = flow()
    model = fit(mdata)
    with without_pulling():
        new = mdata.copy()
    new["rna"].X[:, 2] = np.nan
    new["drivers"].X[:, 1] = 0.0
    found = model.predict("protein", new)
    assert np.isfinite(found).all().all()
    standard = model.predict("protein")
    with without_pulling():
        at_mean = mdata.copy()
    at_mean["rna"].X[:, 2] = float(model.module.location[model.module.columns["rna"]][2])
    at_mean["drivers"].X[:, 1] = 0.0
    evidence = model.predict("protein", new, path="evidence")
    np.testing.assert_allclose(evidence, model.predict("protein", at_mean, path="evidence"), atol=1e-4)
    assert not np.allclose(evidence, standard)


def test_a_sample_that_a_modality_holds_as_nan_is_one_that_it_lacks():
    mdata = flow()
    name = mdata["protein"].obs_names[0]
    with without_pulling():
        lacking = mdata.copy()
    mdata["protein"].X[0] = np.nan
    model = fit(mdata)
    with without_pulling():
        lacking.mod["protein"] = lacking["protein"][1:].copy()
        lacking.update()
    expected = model.predict("rna").loc[name]
    np.testing.assert_allclose(model.predict("rna", lacking).loc[name], expected, rtol=1e-5, atol=1e-5)


def test_a_new_sample_without_any_layer_is_predicted_from_nothing():
    mdata = flow()
    model = fit(mdata)
    with without_pulling():
        empty = mdata.copy()
    name = empty.obs_names[-1]
    for each in empty.mod.values():
        each.X[each.obs_names == name] = np.nan
    for target in ("rna", "metabolome"):
        expected = model.predict(target, given=[]).loc[name]
        np.testing.assert_allclose(model.predict(target, empty).loc[name], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda model: model.predict("lipids"), KeyError, "'lipids'. are not layers of the model, which has"),
        (lambda model: model.predict("rna", given=["rna", "cna"]), KeyError, "'cna'. are not layers of the model"),
        (lambda model: model.get_latent_representation(modalities=["cna"]), KeyError, "'cna'. are not layers"),
        (lambda model: model.perturb_drivers({"BCR-ABL1": 0}), KeyError, "'BCR-ABL1'. are not drivers of the model"),
        (lambda model: model.get_driver_shift({"BCR-ABL1": 0}), KeyError, "'BCR-ABL1'. are not drivers of the model"),
        (lambda model: model.perturb_drivers({"fusion": 0.5}), ValueError, "Drivers are set to 0 or 1"),
        (lambda model: model.perturb_drivers({"fusion": 0}, targets=["cna"]), KeyError, "'cna'. are not layers"),
    ],
)
def test_what_the_model_does_not_know(ask, error, message):
    model = fit(flow())
    with pytest.raises(error, match=message):
        ask(model)


def test_a_fusion_that_nobody_carries_changes_nothing():
    mdata = flow()
    model = fit(mdata)
    carriers = mdata["drivers"].to_df().reindex(mdata.obs_names)["fusion"].to_numpy() == 1
    change = model.perturb_drivers({"fusion": 0}, indices=np.flatnonzero(~carriers))
    for each in change.values():
        assert not each.fillna(0).to_numpy().any()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([range(3), range(3, N)], r"Only 3 sample\(s\) to train on"),
        ([range(30), range(20, N)], "together are the positions 0 to 59, each once"),
        ([range(30), range(30, 50)], "together are the positions 0 to 59, each once"),
    ],
)
def test_splits_that_cannot_be(parts, message):
    mdata = flow()
    MultiOmicLPM.setup_mudata(mdata, **SETUP)
    model = MultiOmicLPM(mdata, n_latent=2, n_hidden=4)
    before = weights_hash(model.module)
    with pytest.raises(ValueError, match=message):
        model.train(1, external_indexing=parts, **SILENT)
    assert weights_hash(model.module) == before
    assert not model.is_trained


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda new: new["rna"].X.__setitem__((0, 0), np.inf), r"rna"),
        (lambda new: new["drivers"].X.__setitem__((0, 0), 0.5), r"drivers"),
        (
            lambda new: setattr(
                new["protein"], "obs_names", [new["protein"].obs_names[1], *new["protein"].obs_names[1:]]
            ),
            "duplicated obs_names",
        ),
    ],
    ids=["infinite", "not a driver", "same name twice"],
)
def test_new_samples_are_checked(spoil, message):
    mdata = flow()
    model = fit(mdata)
    with without_pulling():
        new = mdata.copy()
    spoil(new)
    with pytest.raises(ValueError, match=message):
        model.predict("metabolome", new)
