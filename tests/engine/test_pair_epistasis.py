"""Tests of the epistasis of all pairs, against encoding every pair in every cell anew."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scvi.module import VAE

from scwhatif.engine import EncoderPlan, EpistasisSums, encoder_plan, pair_epistasis
from scwhatif.module import BetaLinearVAE
from scwhatif.perturbation import Edit

N_CELLS, N_FEATURES = 17, 12
FEATURES = [1, 2, 5, 6, 7, 11]


def matrix() -> np.ndarray:
    return np.random.default_rng(0).poisson(0.7, (N_CELLS, N_FEATURES)).astype(np.float32)


def fields() -> dict[str, np.ndarray]:
    return {"batch": np.zeros((N_CELLS, 1), np.int64), "labels": np.zeros((N_CELLS, 1), np.int64)}


@pytest.fixture(scope="module", params=["layer norm", "batch norm", "two layers"])
def plan(request: pytest.FixtureRequest) -> EncoderPlan:
    torch.manual_seed(0)
    if request.param == "batch norm":
        module: Any = VAE(N_FEATURES, n_hidden=24, n_latent=3).eval()
    else:
        module = BetaLinearVAE(N_FEATURES, n_hidden=24, n_latent=3, n_layers=1 + (request.param == "two layers"))
    found = encoder_plan(module, matrix(), fields())
    assert (found.fused is None) == (request.param == "two layers")
    return found


def brute_force(plan: EncoderPlan, edit: Edit) -> EpistasisSums:
    x = matrix()

    def posterior(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        states = plan.cells(cells, fields())
        return states.mean.double().numpy(), states.var.double().numpy()

    def shift(columns: list[int]) -> np.ndarray:
        cells = x.copy()
        cells[:, columns] = edit.apply(x[:, columns], rng=0)
        return posterior(cells)[0] - mean

    mean, var = posterior(x)
    found = []
    for g, h in combinations(FEATURES, 2):
        both = (edit.apply(x[:, [g, h]], rng=0) != x[:, [g, h]]).all(axis=1)
        together, additive = shift([g, h]), shift([g]) + shift([h])
        lengths = [
            np.sqrt((each**2 / var).sum(axis=1))[both].sum() for each in (together - additive, together, additive)
        ]
        found.append([both.sum(), *lengths])
    n_cells, *sums = np.array(found).T
    return EpistasisSums(n_cells.astype(np.int64), *sums)


def assert_same(found: EpistasisSums, wanted: EpistasisSums, tolerance: float = 2e-5) -> None:
    np.testing.assert_array_equal(found.n_cells, wanted.n_cells)
    for name in ("epistasis", "together", "additive"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("op", "value"), [("ko", None), ("x", 0.5), ("+", 2.0)])
def test_equals_brute_force(plan: EncoderPlan, op: Any, value: float | None):
    edit = Edit("feature", ("a",), op, value)
    found = pair_epistasis(plan, sparse.csr_matrix(matrix()), fields(), FEATURES, edit)
    assert_same(found, brute_force(plan, edit))
    assert found.n_cells.dtype == np.int64


def test_pairs_that_share_no_cell_are_exactly_zero(plan: EncoderPlan):
    x = np.zeros((N_CELLS, N_FEATURES), np.float32)
    x[:8, 1], x[8:, 2], x[:, 5] = 2, 3, 1
    found = pair_epistasis(plan, x, fields(), [1, 2, 5], Edit("feature", ("a",), "ko"))
    np.testing.assert_array_equal(found.n_cells, [0, 8, 9])
    for name in ("epistasis", "together", "additive"):
        values = getattr(found, name)
        assert values[0] == 0
        assert (values[1:] > 0).all()


def test_a_linear_encoder_has_none():
    torch.manual_seed(0)
    module = VAE(N_FEATURES, n_hidden=24, n_latent=3, use_batch_norm="none").eval()
    layer = module.z_encoder.encoder.fc_layers[0][0]
    with torch.no_grad():
        # far from the kink of every unit
        layer.bias += 50
    plan = encoder_plan(module, matrix(), fields())
    found = pair_epistasis(plan, matrix(), fields(), FEATURES, Edit("feature", ("a",), "ko"))
    assert found.epistasis.max() < 1e-3 * found.additive.max()
    np.testing.assert_allclose(found.together, found.additive, rtol=1e-3)


@pytest.mark.slow
def test_workers_do_not_matter(plan: EncoderPlan):
    edit = Edit("feature", ("a",), "thin", 0.5)
    x = sparse.csr_matrix(matrix() * 3)
    alone, together = (pair_epistasis(plan, x, fields(), FEATURES, edit, n_jobs=n_jobs) for n_jobs in (None, 2))
    assert_same(together, alone, 0)


def test_progress_is_told_and_few_features_are_no_trouble(plan: EncoderPlan):
    seen: list[int] = []
    edit = Edit("feature", ("a",), "ko")
    pair_epistasis(plan, matrix(), fields(), FEATURES, edit, track=lambda starts: seen.extend(starts) or starts)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(seen) > 1
    for few in ([], [3]):
        assert pair_epistasis(plan, matrix(), fields(), few, edit).n_cells.shape == (0,)
