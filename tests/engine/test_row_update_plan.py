"""Tests of the encoder taken apart, beyond that it equals the whole one (see test_encoder_plan)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scvi.module import TOTALVAE, VAE

from scwhatif._compat import infer
from scwhatif.engine import EncoderPlan, PairEdits, encoder_plan
from scwhatif.engine._row_update_plan import _chebyshev, _interpolation
from scwhatif.module import BetaLinearVAE

N_CELLS, N_FEATURES = 20, 40
MODULES: dict[str, Any] = {
    "counts": lambda: BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=5),
    "continuous": lambda: BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=5, gene_likelihood="normal"),
    "two layers": lambda: BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=5, n_layers=2),
    "batch norm": lambda: VAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=5),
    "divides by the mean": lambda: TOTALVAE(N_FEATURES, 3, n_batch=2, n_hidden=16, n_latent=5, n_panel=2),
}


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    module = MODULES[name]()
    with torch.no_grad():
        for part, values in module.named_parameters():
            if "encoder" in part:
                values.add_(0.2 * torch.randn_like(values))
        if name == "continuous":
            module.input_mean.normal_(3)
            module.input_std.uniform_(0.1, 5)
    return module


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).poisson(2, (N_CELLS, N_FEATURES)).astype(np.float32)


@pytest.fixture
def fields() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "batch": rng.integers(2, size=(N_CELLS, 1)),
        "proteins": rng.poisson(4, (N_CELLS, 3)).astype(np.float32),
    }


def every_pair(x: np.ndarray, log_scale: np.ndarray | None = None) -> PairEdits:
    rows, features = np.repeat(np.arange(N_CELLS), N_FEATURES), np.tile(np.arange(N_FEATURES), N_CELLS)
    after = np.where(features % 2, 0, 2.5 * x.ravel()).astype(np.float32)
    scales = None if log_scale is None else log_scale[rows].astype(np.float32)
    return PairEdits(rows, np.arange(len(rows) + 1), features, x.ravel(), after, scales)


def own(module: torch.nn.Module, x: np.ndarray, fields: dict[str, np.ndarray], edit: PairEdits) -> Any:
    edited = x[edit.rows]
    edited[np.arange(len(edit)), edit.features] = edit.after
    if edit.log_scale is not None:
        edited = edited * np.exp(edit.log_scale)[:, None]
    return infer(module, {"X": edited, **{key: values[edit.rows] for key, values in fields.items()}})


def agree(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    for each, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(each.cpu(), other.cpu(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix, sparse.csr_array])
def test_every_pair(name: str, storage: Any, x: np.ndarray, fields: dict[str, np.ndarray]):
    module = build(name)
    plan = encoder_plan(module, x, fields)
    assert plan.kind == "row-update"
    edit = every_pair(x)
    agree(plan.edited(plan.cells(storage(x), fields), edit), own(module, x, fields, edit))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("prepared", [None, (-0.4, 0.9), (-0.1, 0.1), (-4.0, 4.0)])
def test_rescaled_cells(name: str, prepared: tuple[float, float] | None, x: np.ndarray, fields: dict[str, np.ndarray]):
    """Prepared for the range or not, or for a smaller one, where the direct evaluation takes over."""
    module = build(name)
    plan = encoder_plan(module, x, fields)
    scale_range = None if prepared is None else tuple(np.full(N_CELLS, bound) for bound in prepared)
    edit = every_pair(x, np.linspace(-0.4, 0.9, N_CELLS))
    states = plan.cells(sparse.csr_matrix(x), fields, scale_range=scale_range)
    agree(plan.edited(states, edit), own(module, x, fields, edit))


def test_interpolation_goes_through_its_nodes_and_all_polynomials():
    nodes, position = _chebyshev(6), np.linspace(-1, 1, 50)
    np.testing.assert_allclose(_interpolation(nodes, 6), np.eye(6), atol=1e-12)
    for degree in range(6):
        np.testing.assert_allclose(_interpolation(position, 6) @ nodes**degree, position**degree, atol=1e-12)


def test_interpolation_agrees_with_the_direct_evaluation(x: np.ndarray, fields: dict[str, np.ndarray]):
    plan = encoder_plan(build("batch norm"), x, fields)
    x[0] = 1000 * x[0]
    edit = every_pair(x, np.linspace(-0.5, 0, N_CELLS))
    direct = plan.edited(plan.cells(x, fields), edit)
    nodes = plan.cells(x, fields, scale_range=(np.full(N_CELLS, -0.5), np.zeros(N_CELLS)))
    agree(plan.edited(nodes, edit), direct)


def test_one_scale_for_all_cells(x: np.ndarray, fields: dict[str, np.ndarray]):
    """An empty interval has nodes all the same."""
    module = build("counts")
    plan = encoder_plan(module, x, fields)
    edit = every_pair(x, np.full(N_CELLS, -0.25))
    states = plan.cells(x, fields, scale_range=(np.full(N_CELLS, -0.25), np.full(N_CELLS, -0.25)))
    agree(plan.edited(states, edit), own(module, x, fields, edit))


def test_an_edit_that_changes_the_size_of_a_cell_many_times(x: np.ndarray, fields: dict[str, np.ndarray]):
    """Beyond the nodes of an encoder that divides by it."""
    module = build("divides by the mean")
    plan = encoder_plan(module, x, fields)
    rows = np.arange(N_CELLS)
    edit = PairEdits(rows, np.arange(N_CELLS + 1), rows, x[rows, rows], np.geomspace(1, 1e5, N_CELLS, dtype=np.float32))
    agree(plan.edited(plan.cells(x, fields), edit), own(module, x, fields, edit))


@pytest.mark.parametrize("name", MODULES)
def test_no_change_is_nothing(name: str, x: np.ndarray, fields: dict[str, np.ndarray]):
    plan = encoder_plan(build(name), x, fields)
    states, rows = plan.cells(x, fields), np.arange(N_CELLS)
    same = PairEdits(rows, np.arange(N_CELLS + 1), rows, x[rows, rows], x[rows, rows])
    # an interpolated cell comes back within rounding only
    agree(plan.edited(states, same), (states.mean, states.var), 2e-6 if name == "divides by the mean" else 0.0)


def test_no_pairs(x: np.ndarray, fields: dict[str, np.ndarray]):
    plan = encoder_plan(build("batch norm"), x, fields)
    mean, var = plan.edited(plan.cells(x, fields), every_pair(x)[:0])
    assert mean.shape == var.shape == (0, 5)


def test_fused_tail_on_moved_hidden_units(x: np.ndarray, fields: dict[str, np.ndarray]):
    """What a compiled loop does with the arrays, in numpy."""
    plan = encoder_plan(build("batch norm"), x, fields)
    states, edit, tail = plan.cells(x, fields), every_pair(x), plan.fused
    h = states.hidden.numpy()[edit.rows] + plan.input_change(edit)[:, None] * tail.weight[edit.features]
    out = np.maximum(h * tail.scale + tail.shift, 0) @ tail.head + tail.head_bias
    mean, var = plan.edited(states, edit)
    np.testing.assert_allclose(mean, out[:, :5], atol=1e-5)
    np.testing.assert_allclose(var, np.exp(out[:, 5:]) + tail.var_eps, rtol=1e-5)


def test_weight_norm_is_per_unit_of_the_feature(x: np.ndarray, fields: dict[str, np.ndarray]):
    module = build("continuous")
    wanted = torch.linalg.vector_norm(module.z_encoder.first.weight / module.input_std, dim=0)
    np.testing.assert_allclose(encoder_plan(module, x, fields).weight_norm, wanted.detach().numpy(), rtol=1e-5)


def test_batch_norm_counts_towards_the_weight(x: np.ndarray, fields: dict[str, np.ndarray]):
    module = build("batch norm")
    with torch.no_grad():
        module.z_encoder.encoder.fc_layers[0][1].running_var.fill_(4)
    plan = encoder_plan(module, x, fields)
    first, norm = module.z_encoder.encoder.fc_layers[0][:2]
    wanted = torch.linalg.vector_norm(first.weight[:, :N_FEATURES] * norm.weight[:, None] / 4.001**0.5, dim=0)
    np.testing.assert_allclose(plan.weight_norm, wanted.detach().numpy(), rtol=1e-5)


def test_shifts_are_rotated_to_the_reported_axes(x: np.ndarray, fields: dict[str, np.ndarray]):
    module = build("counts")
    rotation = torch.linalg.qr(torch.randn(5, 5))[0]
    module.rotate(rotation)
    plan = encoder_plan(module, x, fields)
    states, edit = plan.cells(x, fields), every_pair(x)
    shift = (plan.edited(states, edit)[0] - states.mean[edit.rows]).double().numpy()
    whole = infer(module, {"X": x, **fields})[0]
    wanted = own(module, x, fields, edit)[0] - whole[edit.rows]
    np.testing.assert_allclose(plan.to_reported_axes(shift), wanted, atol=2e-6)


def test_the_cells_given_are_left_alone(x: np.ndarray, fields: dict[str, np.ndarray]):
    plan: EncoderPlan = encoder_plan(build("divides by the mean"), x, fields)
    given, kept = sparse.csr_matrix(x), x.copy()
    states = plan.cells(given, fields)
    hidden, mean = states.hidden.clone(), states.mean.clone()
    plan.edited(states, every_pair(x))
    assert (given != sparse.csr_matrix(kept)).nnz == 0
    assert torch.equal(states.hidden, hidden)
    assert torch.equal(states.mean, mean)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", ["counts", "continuous"])
def test_cells_may_be_shared_between_processes(name: str, x: np.ndarray, fields: dict[str, np.ndarray]):
    """Joblib hands out arrays that cannot be written to."""
    plan = encoder_plan(build(name), x, fields)
    wanted = plan.cells(x, fields).mean
    for values in (x, *fields.values()):
        values.setflags(write=False)
    assert torch.equal(plan.cells(x, fields).mean, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("scaled", [False, True])
def test_the_same_on_a_gpu(name: str, scaled: bool, x: np.ndarray, fields: dict[str, np.ndarray]):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    edit = every_pair(x, np.linspace(-0.4, 0.9, N_CELLS) if scaled else None)
    found = []
    for device in ("cpu", "cuda"):
        plan = encoder_plan(build(name).to(device), x, fields)
        assert plan.device.type == device
        assert plan.kind == "row-update"
        assert plan.fused is None or device == "cpu"
        states = plan.cells(sparse.csr_matrix(x), fields, scale_range=(np.full(N_CELLS, -0.3), np.full(N_CELLS, 0.9)))
        found.append(plan.edited(states, edit))
    agree(found[1], found[0])
