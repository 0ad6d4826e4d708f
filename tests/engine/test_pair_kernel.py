"""Tests of the compiled loop against the plan it stands in for, and against double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scvi.module import VAE

from scwhatif.engine import CellStates, FusedTail, PairEdits, encoder_plan
from scwhatif.engine._pair_kernel import PairKernel
from scwhatif.module import BetaLinearVAE

N_CELLS, N_FEATURES, N_LATENT = 40, 30, 5


def module(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "ours":
        found: Any = BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=24, n_latent=N_LATENT)
    else:
        norms = (
            {"use_batch_norm": kind, "use_layer_norm": "none"}
            if kind != "layer"
            else {
                "use_batch_norm": "none",
                "use_layer_norm": "both",
            }
        )
        found = VAE(N_FEATURES, n_batch=2, n_hidden=24, n_latent=N_LATENT, encode_covariates=True, **norms)
    for name, values in found.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            values.copy_(torch.rand_like(values) + 0.5)
    for values in found.parameters():
        # normalisations start as the identity, which would hide that they are read
        if values.ndim == 1:
            values.data += 0.2 * torch.rand_like(values)
    return found.eval()


def cells() -> tuple[sparse.csr_matrix, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    x = sparse.csr_matrix(rng.poisson(0.7, (N_CELLS, N_FEATURES)).astype(np.float32))
    return x, {"batch": rng.integers(2, size=(N_CELLS, 1)), "labels": np.zeros((N_CELLS, 1), np.int64)}


def edits(n_pairs: int = 300, max_entries: int = 6) -> PairEdits:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, max_entries + 1, size=n_pairs)
    features = [np.sort(rng.choice(N_FEATURES, size, replace=False)) for size in sizes]
    before = rng.poisson(2.0, sizes.sum()).astype(np.float32)
    return PairEdits(
        rows=rng.integers(N_CELLS, size=n_pairs),
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        features=np.concatenate(features),
        before=before,
        after=rng.poisson(2.0, sizes.sum()).astype(np.float32),
    )


def add(tail: FusedTail, states: CellStates, pairs: PairEdits, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Effects pair by pair, and the distances."""
    sums = np.zeros((len(pairs), tail.head.shape[1] // 2 + 2))
    distance = np.empty(len(pairs), np.float32)
    PairKernel(tail, states).add(
        pairs.rows, pairs.offsets, pairs.features, change, np.arange(len(pairs)), sums, distance
    )
    return sums, distance


def effects(mean: np.ndarray, var: np.ndarray, new_mean: np.ndarray, new_var: np.ndarray) -> np.ndarray:
    shift, ratio = new_mean - mean, new_var / var
    square = (shift**2 / var).sum(axis=1)
    kl = 0.5 * ((ratio - 1 - np.log(ratio)).sum(axis=1) + square)
    return np.column_stack([shift, np.sqrt(square), kl])


@pytest.mark.parametrize("kind", ["ours", "both", "none", "layer"])
def test_equals_the_plan(kind: str):
    x, fields = cells()
    plan = encoder_plan(module(kind), x[:32], {key: values[:32] for key, values in fields.items()})
    assert plan.fused is not None
    states, pairs = plan.cells(x, fields), edits()
    before = [each.double().numpy()[pairs.rows] for each in (states.mean, states.var)]
    wanted = effects(*before, *(each.double().numpy() for each in plan.edited(states, pairs)))
    found, distance = add(plan.fused, states, pairs, plan.input_change(pairs))
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=2e-6)
    np.testing.assert_allclose(distance, wanted[:, -2], atol=1e-6, rtol=2e-6)


def made_up(n_hidden: int, n_latent: int, **kwargs: Any) -> tuple[FusedTail, CellStates]:
    """An encoder and cells that agree with one another, in single precision."""
    rng = np.random.default_rng(2)

    def draw(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.normal(size=shape)).astype(np.float32)

    settings = {"layer_norm": False, "eps": 1e-5, "var_eps": 1e-4, "lower": -np.inf, "upper": np.inf, **kwargs}
    tail = FusedTail(
        weight=draw(N_FEATURES, n_hidden, scale=0.3),
        scale=1 + draw(n_hidden, scale=0.2),
        shift=draw(n_hidden, scale=0.2),
        head=draw(n_hidden, 2 * n_latent, scale=0.2),
        head_bias=draw(2 * n_latent),
        **settings,
    )
    hidden = draw(N_CELLS, n_hidden)
    mean, var = (torch.from_numpy(each.astype(np.float32)) for each in in_double(tail, hidden))
    return tail, CellStates(mean, var, hidden=torch.from_numpy(hidden), injected=(), x=np.empty((N_CELLS, 0)))


def in_double(tail: FusedTail, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h = hidden.astype(np.float64)
    if tail.layer_norm:
        h = (h - h.mean(axis=1, keepdims=True)) / np.sqrt(h.var(axis=1, keepdims=True) + tail.eps)
    mean, log_var = np.hsplit(np.maximum(h * tail.scale + tail.shift, 0) @ tail.head + tail.head_bias, 2)
    return mean, np.exp(log_var.clip(tail.lower, tail.upper)) + tail.var_eps


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize(("n_hidden", "n_latent"), [(7, 1), (128, 10), (65, 36), (512, 3)])
def test_equals_double_precision(layer_norm: bool, n_hidden: int, n_latent: int):
    tail, states = made_up(n_hidden, n_latent, layer_norm=layer_norm)
    pairs = edits()
    change = np.random.default_rng(3).normal(size=len(pairs.features)).astype(np.float32)
    hidden = states.hidden.numpy()[pairs.rows].astype(np.float64)
    np.add.at(hidden, pairs.pair_of_entry, change[:, None].astype(np.float64) * tail.weight[pairs.features])
    old = in_double(tail, states.hidden.numpy()[pairs.rows])
    wanted = effects(*old, *in_double(tail, hidden))
    found, _ = add(tail, states, pairs, change)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)


def test_bounds_keep_extremes_finite():
    for bounds in ({}, {"lower": -12.0, "upper": 8.0, "var_eps": 0.0}):
        tail, states = made_up(16, 3, **bounds)
        tail.head[:, 3:] *= 1000
        pairs = edits(50)
        found, _ = add(tail, states, pairs, np.ones(len(pairs.features), np.float32))
        assert not np.isnan(found).any()
        assert np.isfinite(found).all() or not bounds


def test_pairs_of_a_bin_add_up_in_any_order():
    tail, states = made_up(32, 4)
    pairs = edits(257)
    change = np.ones(len(pairs.features), np.float32)
    each, _ = add(tail, states, pairs, change)
    bins = np.random.default_rng(0).integers(9, size=len(pairs))
    sums = np.ones((9, 6))
    PairKernel(tail, states).add(pairs.rows, pairs.offsets, pairs.features, change, bins, sums)
    wanted = np.ones((9, 6))
    np.add.at(wanted, bins, each)
    np.testing.assert_allclose(sums, wanted, rtol=1e-6, atol=1e-6)


def test_nothing_to_do_changes_nothing():
    tail, states = made_up(8, 2)
    sums = np.zeros((1, 4))
    none = np.empty(0, np.int64)
    PairKernel(tail, states).add(none, np.zeros(1, np.int64), none, np.empty(0, np.float32), none, sums)
    assert not sums.any()
