"""Tests of the streamed screen against encoding every edited cell anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from scwhatif.engine import EncoderPlan, FeatureScreen
from scwhatif.module import BetaLinearVAE
from scwhatif.perturbation import Perturbation

N_CELLS, N_FEATURES, N_GROUPS = 50, 30, 3


@pytest.fixture(scope="module")
def plan() -> EncoderPlan:
    torch.manual_seed(0)
    return EncoderPlan.from_module(BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=4, n_layers=2))


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).poisson(0.7, (N_CELLS, N_FEATURES)).astype(np.float32)


def screen(plan: EncoderPlan, x: Any, op: str = "ko", **kwargs: Any) -> FeatureScreen:
    rng = np.random.default_rng(1)
    batch, groups = rng.integers(2, size=(N_CELLS, 1)), rng.integers(N_GROUPS, size=N_CELLS)
    edit = Perturbation.parse(f"any:{op}").edits[0]
    return FeatureScreen(plan, x, (batch, None, None), groups, N_GROUPS, edit, **kwargs)


def brute_force(setting: FeatureScreen, x: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
    """Shift, distance and divergence summed per column and group, cell by cell."""
    mean, var = (
        each.double().numpy() for each in setting.plan.posterior(setting.plan.preactivation(x, *setting.covariates))
    )
    shift, distance, kl = np.zeros((len(columns), N_GROUPS, 4)), *np.zeros((2, len(columns), N_GROUPS))
    for i, column in enumerate(columns):
        edited = x.copy()
        edited[:, column] = setting.edit.apply(x[:, column], rng=0)
        h = setting.plan.preactivation(edited, *setting.covariates)
        new_mean, new_var = (each.double().numpy() for each in setting.plan.posterior(h))
        for cell, group in enumerate(setting.groups):
            delta = new_mean[cell] - mean[cell]
            ratio = new_var[cell] / var[cell]
            square = (delta**2 / var[cell]).sum()
            shift[i, group] += delta
            distance[i, group] += np.sqrt(square)
            kl[i, group] += 0.5 * ((ratio - 1 - np.log(ratio)).sum() + square)
    return [shift, distance, kl]


@pytest.mark.parametrize("op", ["ko", "x0.5", "x3", "=1", "+2", "-1"])
def test_equals_brute_force(plan: EncoderPlan, x: np.ndarray, op: str):
    setting = screen(plan, sparse.csr_matrix(x), op)
    columns = np.array([0, 3, 4, 29])
    found = setting.run(columns)
    for values, wanted in zip((found.shift, found.distance, found.kl), brute_force(setting, x, columns), strict=True):
        np.testing.assert_allclose(values, wanted, atol=2e-5)
    after = setting.edit.apply(x)
    counts = setting.count()
    for group in range(N_GROUPS):
        members = setting.groups == group
        assert counts.n_cells[group] == members.sum()
        np.testing.assert_array_equal(counts.n_changed[:, group], (after != x)[members].sum(axis=0))
        np.testing.assert_array_equal(counts.n_nonzero[:, group], (x != 0)[members].sum(axis=0))
        np.testing.assert_array_equal(counts.total[:, group], x[members].sum(axis=0))


def test_an_operation_without_effect_is_exactly_zero(plan: EncoderPlan, x: np.ndarray):
    setting = screen(plan, x, "x1")
    assert not setting.count().n_changed.any()
    sums = setting.run(np.arange(N_FEATURES))
    assert not sums.shift.any()
    assert not sums.distance.any()
    assert not sums.kl.any()


@pytest.mark.parametrize(
    "storage", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, lambda x: x.astype(np.int32)]
)
@pytest.mark.parametrize(("batch_size", "chunk_cells"), [(1, 50), (7, 3), (10_000, 1)])
@pytest.mark.parametrize("op", ["ko", "+1", "thin0.5"])
def test_storage_batches_and_chunks_do_not_matter(
    plan: EncoderPlan, x: np.ndarray, storage: Any, batch_size: int, chunk_cells: int, op: str
):
    columns = np.array([2, 5, 9])
    plain = screen(plan, sparse.csr_matrix(x), op)
    other = screen(plan, storage(x), op, batch_size=batch_size, chunk_cells=chunk_cells)
    np.testing.assert_array_equal(other.count().n_changed, plain.count().n_changed)
    found, wanted = other.run(columns), plain.run(columns)
    np.testing.assert_allclose(found.shift, wanted.shift, atol=1e-5)
    np.testing.assert_allclose(found.distance, wanted.distance, rtol=1e-4)
    np.testing.assert_allclose(found.kl, wanted.kl, rtol=1e-3, atol=1e-5)


def test_the_data_are_left_alone(plan: EncoderPlan, x: np.ndarray):
    # unsorted, with an explicit zero and a duplicate
    data = sparse.csr_matrix((np.array([1.0, 0, 2, 3], np.float32), [5, 1, 0, 0], [0, 4]), shape=(1, N_FEATURES))
    stacked = sparse.vstack([data] * N_CELLS, format="csr")
    before = stacked.copy()
    counts = screen(plan, stacked).count()
    assert counts.n_nonzero.sum() == 2 * N_CELLS
    assert counts.total[0].sum() == 5 * N_CELLS
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(stacked, name), getattr(before, name))


def test_draws_follow_the_seed(plan: EncoderPlan, x: np.ndarray):
    first, again, other = (screen(plan, x * 5, "thin0.5", seed=seed).run(np.arange(9)).shift for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_progress_is_told_chunk_by_chunk(plan: EncoderPlan, x: np.ndarray):
    seen: list[int] = []

    def track(starts: range) -> list[int]:
        seen.extend(starts)
        return list(starts)

    setting = screen(plan, x, chunk_cells=20, track=track)
    setting.count()
    assert seen == []
    setting.run(np.arange(3))
    assert seen == [0, 20, 40]
