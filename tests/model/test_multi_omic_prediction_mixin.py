import numpy as np
import pandas as pd
import pytest

LAYERS = ["rna", "protein", "ptm_0", "ptm_1", "metabolome"]


def r2(model, target, **kwargs):
    """Mean over features on the test samples, against the mean of all others."""
    frame = model.predict(target, indices=model.test_indices, **kwargs)
    y = model.adata[target].to_df()
    rest = y[~y.index.isin(frame.index)]
    y = y.reindex(frame.index)
    error = ((y - frame) ** 2).sum()
    return float((1 - error / ((y - rest.mean()) ** 2).sum()).mean())


def test_no_layer_is_the_prior_exactly(flow_model):
    mean, variance = flow_model.get_latent_representation(modalities=[], return_dist=True)
    assert not mean.any()
    assert (variance == 1).all()


def test_representations_read_what_they_say(flow_model):
    get = flow_model.get_latent_representation
    np.testing.assert_array_equal(get(which="seed"), get(modalities=["drivers"]))
    np.testing.assert_array_equal(get(which="state"), get(modalities=LAYERS))
    np.testing.assert_array_equal(get(which="full"), get(modalities=["drivers", *LAYERS]))
    np.testing.assert_allclose(get(indices=[5, 2]), get()[[5, 2]], atol=1e-5)
    more, less = (get(which=which, return_dist=True)[1] for which in ("full", "state"))
    assert (more <= less + 1e-6).all()


def test_the_state_recovers_the_planted_one(flow_model):
    z = flow_model.get_latent_representation()
    truth = flow_model.adata.obsm["true_factors"]
    train = flow_model.train_indices
    design = np.column_stack([z, np.ones(len(z))])
    fitted = design @ np.linalg.lstsq(design[train], truth[train], rcond=None)[0]
    test = flow_model.test_indices
    error = np.square(truth - fitted)[test].sum() / np.square(truth - truth[train].mean(0))[test].sum()
    assert 1 - error > 0.6


@pytest.mark.parametrize("target", LAYERS)
def test_hidden_layers_are_predicted(flow_model, target):
    assert r2(flow_model, target) > 0.5
    assert r2(flow_model, target, path="latent") > 0.2
    assert r2(flow_model, target) > r2(flow_model, target, path="latent") - 0.02
    assert r2(flow_model, target) > r2(flow_model, target, given=["drivers"]) - 0.02


def test_leaving_layers_out_costs_little_where_others_tell_the_same(flow_model):
    complete = r2(flow_model, "ptm_1")
    fewer = r2(flow_model, "ptm_1", given=["drivers", "protein", "ptm_0", "metabolome"])
    assert fewer > 0.8 * complete


def test_drivers_alone_are_honest(flow_model):
    for target in LAYERS:
        assert r2(flow_model, target, given=["drivers"]) > -0.02


def test_predictions_are_frames_in_the_units_of_the_data(flow_model):
    frame = flow_model.predict("protein", indices=[3, 1])
    assert frame.index.tolist() == flow_model.adata.obs_names[[3, 1]].tolist()
    assert frame.columns.tolist() == flow_model.adata["protein"].var_names.tolist()
    pd.testing.assert_frame_equal(frame, flow_model.predict("protein").iloc[[3, 1]], rtol=1e-4, atol=1e-5)
    drivers = flow_model.predict("drivers")
    assert ((drivers >= 0) & (drivers <= 1)).all().all()


def test_reconstruction_sees_the_layer(flow_model):
    everything = flow_model.layer_names
    assert r2(flow_model, "rna", given=everything, path="latent") > r2(flow_model, "rna", path="latent")


def test_shift_is_nothing_for_samples_that_have_the_value_and_unknown_where_not_called(flow_model):
    drivers = flow_model.adata["drivers"].to_df().reindex(flow_model.adata.obs_names)["mut_0"]
    shift = flow_model.get_driver_shift({"mut_0": 1})
    assert np.isnan(shift[drivers.isna().to_numpy()]).all()
    assert not shift[(drivers == 1).to_numpy()].any()
    moved = shift[(drivers == 0).to_numpy()]
    assert np.isfinite(moved).all()
    assert np.abs(moved).max() > 0.05


def test_edits_of_active_drivers_recover_their_planted_effect(flow_model):
    for driver in flow_model.adata.uns["simulate_flow"]["active_drivers"]:
        position = flow_model.adata["drivers"].var_names.get_loc(driver)
        on, off = (flow_model.perturb_drivers({driver: value}) for value in (1, 0))
        for target in ("rna", "protein"):
            truth = flow_model.adata[target].varm["true_driver_effect"][:, position]
            effect = np.nanmean(on[target] - off[target], axis=0)
            assert np.corrcoef(effect, truth)[0, 1] > 0.8
            assert 0.3 < (effect @ truth) / (truth @ truth) < 1.3


def test_the_fusion_moves_its_layer_most(flow_model):
    change = flow_model.perturb_drivers({"fusion": 1})
    sizes = {
        name: np.nanmean(np.square(flow_model.perturb_drivers({"fusion": 0})[name] - frame))
        for name, frame in change.items()
    }
    assert max(sizes, key=sizes.get) == "ptm_1"


def test_edits_without_the_direct_path_and_of_some_layers(flow_model):
    latent = flow_model.perturb_drivers({"fusion": 1}, targets=["ptm_1"], direct=False, indices=[0, 1, 2])
    assert list(latent) == ["ptm_1"]
    assert latent["ptm_1"].shape == (3, 16)
    full = flow_model.perturb_drivers({"fusion": 1}, targets=["ptm_1"])["ptm_1"].abs().sum().sum()
    assert full > flow_model.perturb_drivers({"fusion": 1}, direct=False)["ptm_1"].abs().sum().sum()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.predict("lipids"), KeyError, "'lipids'"),
        (lambda m: m.predict("rna", given=["lipids"]), KeyError, "'lipids'"),
        (lambda m: m.get_latent_representation(which="both"), ValueError, "which='both'"),
        (lambda m: m.predict("drivers", return_std=True), ValueError, "'drivers' is 'bernoulli'"),
        (lambda m: m.perturb_drivers({"KRAS": 1}), KeyError, "'KRAS'.* are not drivers"),
        (lambda m: m.perturb_drivers({"mut_0": 2}), ValueError, "set to 0 or 1"),
        (lambda m: m.perturb_drivers({"mut_0": 1}, targets=["lipids"]), KeyError, "'lipids'"),
    ],
)
def test_bad_input(flow_model, call, error, message):
    with pytest.raises(error, match=message):
        call(flow_model)


@pytest.mark.parametrize("target", LAYERS)
def test_losing_a_third_of_the_layers_at_random_costs_less_than_a_fifth(flow_model, target):
    rng = np.random.default_rng(0)
    others = [name for name in flow_model.layer_names if name != target]
    lost = flow_model.adata.copy()
    for name in others:
        rows = rng.random(lost[name].n_obs) < 0.3
        lost[name].X[rows] = np.nan
    mean = flow_model.predict(target, lost, indices=flow_model.test_indices)
    y = flow_model.adata[target].to_df()
    rest = y[~y.index.isin(mean.index)].mean()
    y = y.reindex(mean.index)
    found = float((1 - ((y - mean) ** 2).sum() / ((y - rest) ** 2).sum()).mean())
    assert found > 0.8 * r2(flow_model, target)


def test_intervals_of_new_measurements_cover_what_they_say(flow_model):
    covered = []
    for target in LAYERS:
        mean, sd = flow_model.predict(target, indices=flow_model.test_indices, return_std=True)
        y = flow_model.adata[target].to_df().reindex(mean.index)
        covered.append(((y - mean).abs() <= 1.645 * sd).to_numpy()[y.notna().to_numpy()].mean())
    assert 0.87 < np.mean(covered) < 0.93
    assert min(covered) > 0.84
