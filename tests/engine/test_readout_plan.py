"""Tests that a plan seen through a readout is the readout of what the plan gives."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scvi.module import TOTALVAE, VAE

from scwhatif.engine import DistanceReadout, EncoderPlan, LinearReadout, ReadoutPlan, Screen, encoder_plan
from scwhatif.module import BetaLinearVAE
from scwhatif.perturbation import Edit

N_CELLS, N_FEATURES, N_LATENT = 30, 25, 4
MODULES: dict[str, Any] = {
    "layer norm": lambda: BetaLinearVAE(N_FEATURES, n_hidden=12, n_latent=N_LATENT),
    "batch norm": lambda: VAE(N_FEATURES, n_hidden=12, n_latent=N_LATENT),
    "divides by the mean": lambda: TOTALVAE(N_FEATURES, 2, n_hidden=12, n_latent=N_LATENT, n_panel=1),
}
VECTOR = np.array([1.0, -0.5, 2.0, 0.3])
READOUTS = {
    "linear": LinearReadout(VECTOR, 1.5),
    "distance": DistanceReadout(np.array([0.1, 0.2, -0.1, 0.0]), np.diag([1.0, 2.0, 0.5, 1.0])),
}
KO = Edit("feature", ("g",), "ko")


def data(name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    x = rng.poisson(1.5, (N_CELLS, N_FEATURES)).astype(np.float32)
    fields = {"batch": np.zeros((N_CELLS, 1), np.int64)}
    if name == "divides by the mean":
        fields["proteins"] = rng.poisson(4, (N_CELLS, 2)).astype(np.float32)
    return x, fields


def build(name: str) -> tuple[EncoderPlan, np.ndarray, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    module = MODULES[name]()
    with torch.no_grad():
        for part, values in module.named_parameters():
            if "encoder" in part:
                values.add_(0.2 * torch.randn_like(values))
        if name == "layer norm":
            # as a rotated model reports
            module.rotation.copy_(torch.linalg.qr(torch.randn(N_LATENT, N_LATENT))[0])
    x, fields = data(name)
    return encoder_plan(module, x, fields), x, fields


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("kind", READOUTS)
@pytest.mark.parametrize("library", ["original", "renorm"])
def test_screen_sums_changes_of_the_readout(name: str, kind: str, library: Any):
    plan, x, fields = build(name)
    readout = READOUTS[kind]
    items = [((0, KO),), ((3, KO), (4, KO)), ((5, Edit("feature", ("g",), "x", 3.0)),)]
    seen = pickle.loads(pickle.dumps(ReadoutPlan(plan, readout)))
    groups = np.arange(N_CELLS) % 2
    found = Screen(seen, sparse.csr_matrix(x), fields, groups, 2, items, library=library).run()
    before = read(plan, readout, x, fields)
    for i, item in enumerate(items):
        edited = x.copy()
        for column, edit in item:
            edited[:, column] = edit.apply(edited[:, column])
        if library == "renorm":
            edited *= x.sum(1, keepdims=True) / edited.sum(1, keepdims=True)
        change = read(plan, readout, edited, fields) - before
        for group in (0, 1):
            assert found.shift[i, group, 0] == pytest.approx(change[groups == group].sum(), abs=2e-5)
            assert found.distance[i, group] == pytest.approx(np.abs(change[groups == group]).sum(), abs=2e-5)


def read(plan: EncoderPlan, readout: Any, x: np.ndarray, fields: dict[str, np.ndarray]) -> np.ndarray:
    z = plan.to_reported_axes(plan.cells(x, fields).mean.double().numpy())
    return readout(torch.from_numpy(z)).numpy()


def test_a_linear_readout_stays_one_compiled_loop():
    plan, x, fields = build("layer norm")
    linear, distance = (ReadoutPlan(plan, READOUTS[kind]) for kind in ("linear", "distance"))
    assert linear.fused is not None
    assert linear.fused.head.shape == (12, 2)
    assert distance.fused is None
    assert ReadoutPlan(build("divides by the mean")[0], READOUTS["linear"]).fused is None
    # and gives what the slower way does
    slow = ReadoutPlan(plan, LinearReadout(VECTOR, 1.5))
    items = [((gene, KO),) for gene in range(N_FEATURES)]
    groups = np.zeros(N_CELLS, np.int64)
    fast = Screen(linear, x, fields, groups, 1, items).run()
    slow.__class__ = type("Slow", (ReadoutPlan,), {"fused": None})
    wanted = Screen(slow, x, fields, groups, 1, items).run()
    np.testing.assert_allclose(fast.shift, wanted.shift, atol=1e-4)


def test_it_is_the_encoder_in_all_else():
    plan, x, fields = build("layer norm")
    seen = ReadoutPlan(plan, READOUTS["linear"])
    assert (seen.kind, seen.n_features, seen.n_latent, seen.signed) == (plan.kind, N_FEATURES, 1, plan.signed)
    np.testing.assert_array_equal(seen.weight_norm, plan.weight_norm)
    states = seen.cells(x, fields)
    assert states.mean.shape == states.var.shape == (N_CELLS, 1)
    assert (states.var == 1).all()
