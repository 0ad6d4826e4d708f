"""Tests of encoders that no plan can take apart."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn
from torch.distributions import Normal

from scwhatif.engine import PairEdits, encoder_plan
from scwhatif.engine import _general_plan as general_plan

N_CELLS, N_FEATURES, N_LATENT = 12, 18, 3


class SharesModule(nn.Module):
    """Reads what share of a cell's total each feature has, and a continuous covariate."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(N_FEATURES + 1, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, N_LATENT))
        self.log_var = nn.Linear(N_FEATURES + 1, N_LATENT)

    def _get_inference_input(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"x": tensors["X"], "covariate": tensors["extra_continuous_covs"]}

    def inference(self, x: torch.Tensor, covariate: torch.Tensor) -> dict[str, Normal]:
        shares = torch.cat([torch.log1p(1e3 * x / x.sum(1, keepdim=True)), covariate], 1)
        qz = Normal(self.encoder(shares), (self.log_var(shares) / 2).exp())
        return {"qz": qz, "z": qz.rsample()}


@pytest.fixture
def module() -> SharesModule:
    torch.manual_seed(0)
    return SharesModule()


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).poisson(2, (N_CELLS, N_FEATURES)).astype(np.float32)


@pytest.fixture
def fields() -> dict[str, np.ndarray]:
    return {"extra_continuous_covs": np.random.default_rng(1).normal(size=(N_CELLS, 1))}


def own(module: SharesModule, x: np.ndarray, covariate: np.ndarray) -> list[torch.Tensor]:
    module.eval()
    with torch.no_grad():
        qz = module.inference(torch.as_tensor(x), torch.as_tensor(covariate, dtype=torch.float32))["qz"]
    module.train()
    return [qz.mean, qz.variance]


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("dense_values", [1, 5 * N_FEATURES, 2**22])
@pytest.mark.parametrize("scaled", [False, True])
def test_edited_cells_go_through_the_module(
    storage: object,
    dense_values: int,
    scaled: bool,
    module: SharesModule,
    x: np.ndarray,
    fields: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(general_plan, "_DENSE_VALUES", dense_values)
    plan = encoder_plan(module, x, fields)
    assert (plan.kind, plan.fused, plan.weight_norm) == ("general", None, None)
    assert (plan.n_features, plan.n_latent, plan.signed) == (N_FEATURES, N_LATENT, False)
    plan = pickle.loads(pickle.dumps(plan))
    states = plan.cells(storage(x), fields)  # type: ignore[operator]
    for found, wanted in zip((states.mean, states.var), own(module, x, fields["extra_continuous_covs"]), strict=True):
        torch.testing.assert_close(found, wanted)

    # one gene, two genes, or none
    rows = np.repeat(np.arange(N_CELLS), 3)
    offsets = np.concatenate([[0], np.cumsum(np.tile([1, 2, 0], N_CELLS))])
    features = np.tile([4, 5, 7], N_CELLS)
    cells = np.repeat(np.arange(N_CELLS), 3)
    after = np.tile(np.float32([0, 9, 0]), N_CELLS)
    log_scale = np.linspace(-1, 1, len(rows)).astype(np.float32) if scaled else None
    edit = PairEdits(rows, offsets, features, x[cells, features], after, log_scale)
    edited = x[rows]
    edited[::3, 4] = 0
    edited[1::3, 5], edited[1::3, 7] = 9, 0
    if log_scale is not None:
        edited *= np.exp(log_scale)[:, None]
    kept = x.copy()
    found_pairs = plan.edited(states, edit)
    for found, wanted in zip(found_pairs, own(module, edited, fields["extra_continuous_covs"][rows]), strict=True):
        torch.testing.assert_close(found, wanted)
    np.testing.assert_array_equal(x, kept)


def test_no_pairs(module: SharesModule, x: np.ndarray, fields: dict[str, np.ndarray]):
    plan = encoder_plan(module, x, fields)
    nothing = PairEdits(*(np.zeros(n, np.int64) for n in (0, 1, 0)), np.zeros(0, np.float32), np.zeros(0, np.float32))
    mean, var = plan.edited(plan.cells(x, fields), nothing)
    assert mean.shape == var.shape == (0, N_LATENT)


def test_a_snapshot_without_side_effects(module: SharesModule, x: np.ndarray, fields: dict[str, np.ndarray]):
    module.encoder[2].eval()
    state = torch.get_rng_state()
    plan = encoder_plan(module, x, fields)
    wanted = plan.cells(x, fields).mean
    assert torch.equal(state, torch.get_rng_state())
    assert module.training
    assert not module.encoder[2].training
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert torch.equal(plan.cells(x, fields).mean, wanted)


def test_negative_values_make_it_signed(module: SharesModule, x: np.ndarray, fields: dict[str, np.ndarray]):
    x[0, 0] = -1e-3
    assert encoder_plan(module, x, fields).signed
