"""The path from drivers to layers agrees with what the model itself says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scwhatif.tl._storm_latent import DriverPath, shuffled_module

if TYPE_CHECKING:
    from mudata import MuData

    from scwhatif.model import MultiOmicLPM

ROWS = np.arange(5, 45)


def test_state_and_step_are_those_of_the_model(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    model = fold_models[0]
    path = DriverPath.of(model, fold_data, ROWS)
    np.testing.assert_allclose(path.state, model.get_latent_representation(fold_data, indices=ROWS), atol=1e-6)
    edited = path.x.clone()
    edited[:, 1] = 0.0
    step = (path.seed(edited) - path.seed(path.x)).detach().numpy()
    wanted = model.get_driver_shift({"mut_1": 0}, fold_data, indices=ROWS)
    called = path.called[:, 1].numpy()
    assert called.any()
    np.testing.assert_allclose(step[called], wanted[called], atol=1e-6)
    assert not path.called[np.isnan(wanted).any(axis=1), 1].any()


def test_decoded_changes_are_those_of_the_model(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    model = fold_models[0]
    path = DriverPath.of(model, fold_data, ROWS)
    edited = path.x.clone()
    edited[:, 4] = 1.0
    with torch.no_grad():
        before, after = path.counterfactual(path.x), path.counterfactual(edited)
    wanted = model.perturb_drivers({"fusion": 1}, fold_data, indices=ROWS)
    called = path.called[:, 4].numpy()
    for name in ("protein", "ptm_0", "ptm_1"):
        scale = model.module.scale[model.module.columns[name]].numpy()
        change = (after[name] - before[name]).numpy() * scale
        np.testing.assert_allclose(change[called], wanted[name].to_numpy()[called], atol=1e-4)


def test_prediction_from_drivers_does_not_look_at_other_layers(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    path = DriverPath.of(fold_models[0], fold_data, ROWS)
    other = {key: value.clone() for key, value in path.tensors.items()}
    other["X"][:, 5:] += 3.0
    moved = DriverPath(path.module, other, path.direct)
    with torch.no_grad():
        first, second = path.from_drivers(path.x), moved.from_drivers(path.x)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert not np.allclose(path.state, moved.state)


def test_drivers_have_a_gradient(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    path = DriverPath.of(fold_models[0], fold_data, ROWS)
    x = path.x.clone().requires_grad_()
    path.counterfactual(x)["ptm_0"].sum().backward()
    assert (x.grad[path.called] != 0).any()
    assert (x.grad[~path.called] == 0).all()


def test_shuffled_weights_are_the_same_numbers(fold_models: list[MultiOmicLPM]):
    module = fold_models[0].module
    other = shuffled_module(module, np.random.default_rng(0))
    for (name, a), b in zip(module.named_parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(np.sort(a.detach().ravel()), np.sort(b.detach().ravel()), err_msg=name)
    assert not torch.equal(module.decoders[1].weight, other.decoders[1].weight)
    assert torch.equal(module.location, other.location)
