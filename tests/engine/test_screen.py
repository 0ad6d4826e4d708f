"""Tests of the streamed screen against encoding every edited cell anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import sparse

from scwhatif.engine import EncoderPlan, Item, Screen, ScreenSums, encoder_plan
from scwhatif.engine._general_plan import GeneralPlan
from scwhatif.module import BetaLinearVAE
from scwhatif.perturbation import Perturbation

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_FEATURES, N_GROUPS = 50, 30, 3
NAMES = [f"g{i}" for i in range(N_FEATURES)]
TEXTS = ["g0:ko", "g3:x0.5", "g3:x2", "{g4,g5,g9}:ko", "g4:+1", "g7:=1 + g2:ko", "g1:thin0.5", "g29:x1"]


def items(texts: list[str] = TEXTS) -> list[Item]:
    return [tuple(Perturbation.parse(text).feature_edits(NAMES)) for text in texts]


def matrix() -> np.ndarray:
    x = np.random.default_rng(0).poisson(0.7, (N_CELLS, N_FEATURES)).astype(np.float32)
    # a cell that loses everything with its only gene
    x[3] = 0
    x[3, 0] = 4
    return x


def fields() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"batch": rng.integers(2, size=(N_CELLS, 1)), "labels": np.zeros((N_CELLS, 1), np.int64)}


def make_plan(n_layers: int) -> EncoderPlan:
    torch.manual_seed(0)
    module = BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=4, n_layers=n_layers)
    return encoder_plan(module, matrix()[:32], {key: values[:32] for key, values in fields().items()})


@pytest.fixture(scope="module", params=["compiled", "torch", "general"])
def plan(request: pytest.FixtureRequest) -> EncoderPlan:
    if request.param == "general":
        torch.manual_seed(0)
        module = BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=4)
        return GeneralPlan(module, n_features=N_FEATURES, n_latent=4)
    found = make_plan(1 if request.param == "compiled" else 2)
    assert (found.fused is not None) == (request.param == "compiled")
    return found


@pytest.fixture(scope="module")
def compiled() -> EncoderPlan:
    return make_plan(1)


def screen(plan: EncoderPlan, x: Any = None, **kwargs: Any) -> Screen:
    groups = np.random.default_rng(2).integers(N_GROUPS, size=N_CELLS)
    settings = {"groups": groups, "n_groups": N_GROUPS, "items": items(), **kwargs}
    return Screen(plan, sparse.csr_matrix(matrix()) if x is None else x, fields(), **settings)


def edit(item: Item, x: np.ndarray, seed: int) -> np.ndarray:
    """Edited cells, cell by cell."""
    edited = x.copy()
    for cell, values in enumerate(edited):
        for column in dict.fromkeys(column for column, _ in item):
            # the draws of a cell do not depend on the item
            rng, whole = np.random.default_rng([seed, cell]), x[cell]
            for _, each in (pair for pair in item if pair[0] == column):
                whole = each.apply(whole, rng)
            values[column] = whole[column]
    return edited


def brute_force(setting: Screen) -> ScreenSums:
    x, plan = matrix(), setting.plan

    def posterior(cells: np.ndarray) -> list[np.ndarray]:
        states = plan.cells(cells, setting.fields)
        return [each.double().numpy() for each in (states.mean, states.var)]

    mean, var = posterior(x)
    n_items = len(setting.items)
    shift, (distance, kl) = np.zeros((n_items, N_GROUPS, 4)), np.zeros((2, n_items, N_GROUPS))
    n_changed = np.zeros((n_items, N_GROUPS), np.int64)
    for i, item in enumerate(setting.items):
        edited = edit(item, x, setting.seed)
        changed = (edited != x).any(axis=1)
        if setting.library == "renorm":
            left = edited.sum(axis=1)
            edited *= np.where(left > 0, x.sum(axis=1) / np.maximum(left, 1e-9), 1)[:, None].astype(np.float32)
        new_mean, new_var = posterior(edited)
        for cell in np.flatnonzero(changed):
            at = (i, setting.groups[cell])
            delta, ratio = new_mean[cell] - mean[cell], new_var[cell] / var[cell]
            square = (delta**2 / var[cell]).sum()
            n_changed[at] += 1
            shift[at] += delta
            distance[at] += np.sqrt(square)
            kl[at] += 0.5 * ((ratio - 1 - np.log(ratio)).sum() + square)
    counts = setting.count()
    np.testing.assert_array_equal(counts.n_changed, n_changed)
    return ScreenSums(shift, distance, kl, counts)


def assert_same(found: ScreenSums, wanted: ScreenSums, tolerance: float = 1e-6) -> None:
    for name in ("n_cells", "n_nonzero", "n_changed"):
        np.testing.assert_array_equal(getattr(found.counts, name), getattr(wanted.counts, name))
    for name in ("shift", "distance", "kl"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("library", ["original", "renorm"])
def test_equals_brute_force(plan: EncoderPlan, library: Any):
    setting = screen(plan, library=library)
    assert_same(setting.run(), brute_force(setting), 2e-5)


def test_counts_say_what_is_in_the_data(compiled: EncoderPlan):
    setting, x = screen(compiled), matrix()
    for counts in (setting.count(), setting.run().counts):
        for group in range(N_GROUPS):
            members = x[setting.groups == group]
            assert counts.n_cells[group] == len(members)
            np.testing.assert_array_equal(counts.n_nonzero[:, group], (members != 0).sum(axis=0))
            np.testing.assert_array_equal(counts.total[:, group], members.sum(axis=0))
            np.testing.assert_array_equal(counts.total_abs[:, group], np.abs(members).sum(axis=0))


def test_an_item_without_effect_is_exactly_zero(plan: EncoderPlan):
    sums = screen(plan, items=items(["g2:x1", "g8:+0"])).run()
    assert not sums.n_changed.any()
    assert not any(getattr(sums, name).any() for name in ("shift", "distance", "kl"))


def test_an_item_may_be_confined_to_groups(plan: EncoderPlan):
    everywhere = screen(plan).run()
    within = np.random.default_rng(0).random((len(TEXTS), N_GROUPS)) < 0.5
    confined = screen(plan, within=within).run()
    for name in ("shift", "distance", "kl", "n_changed"):
        values = getattr(everywhere, name)
        mask = within[..., None] if values.ndim == 3 else within
        np.testing.assert_allclose(getattr(confined, name), values * mask, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "storage", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, lambda x: x.astype(np.int32)]
)
@pytest.mark.parametrize(("batch_size", "chunk_cells"), [(1, 50), (7, 3), (10_000, 1)])
def test_storage_batches_and_chunks_do_not_matter(plan: EncoderPlan, storage: Any, batch_size: int, chunk_cells: int):
    found = screen(plan, storage(matrix()), batch_size=batch_size, chunk_cells=chunk_cells).run()
    assert_same(found, screen(plan).run())


def test_the_data_are_left_alone(compiled: EncoderPlan):
    # unsorted, with an explicit zero and a duplicate
    cell = sparse.csr_matrix((np.array([1.0, 0, 2, 3], np.float32), [5, 1, 0, 0], [0, 4]), shape=(1, N_FEATURES))
    stacked = sparse.vstack([cell] * N_CELLS, format="csr")
    before = stacked.copy()
    counts = screen(compiled, stacked).run().counts
    assert counts.n_nonzero.sum() == 2 * N_CELLS
    assert counts.total[0].sum() == 5 * N_CELLS
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(stacked, name), getattr(before, name))


@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_data_on_disk_are_streamed(compiled: EncoderPlan, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    import anndata as ad
    import h5py

    zarr = pytest.importorskip("zarr", minversion="3")
    path = tmp_path / "x"
    group = h5py.File(path, "w") if kind == "h5" else zarr.open_group(path, mode="w")
    ad.io.write_elem(group, "csr", sparse.csr_matrix(matrix()))
    ad.io.write_elem(group, "csc", sparse.csc_matrix(matrix()))
    ad.io.write_elem(group, "dense", matrix())
    wanted = screen(compiled, chunk_cells=8).run()
    on_disk = ad.io.sparse_dataset(group["csr"])
    monkeypatch.setattr(type(on_disk), "to_memory", None)
    assert_same(screen(compiled, on_disk, chunk_cells=8).run(), wanted, 0)
    assert_same(screen(compiled, group["dense"], chunk_cells=8).run(), wanted, 0)
    monkeypatch.undo()
    assert_same(screen(compiled, ad.io.sparse_dataset(group["csc"]), chunk_cells=8).run(), wanted, 0)


@pytest.mark.optional
def test_dask_arrays_are_streamed(compiled: EncoderPlan):
    da = pytest.importorskip("dask.array")
    wanted = screen(compiled, chunk_cells=8).run()
    dense = da.from_array(matrix(), chunks=(13, -1))
    assert_same(screen(compiled, dense, chunk_cells=8).run(), wanted, 0)
    assert_same(screen(compiled, dense.map_blocks(sparse.csr_matrix), chunk_cells=8).run(), wanted, 0)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["original", "renorm"])
def test_workers_do_not_matter(plan: EncoderPlan, library: Any):
    keep = np.array([1, 3])
    alone, together = (
        screen(plan, chunk_cells=9, library=library, keep=keep, n_jobs=n_jobs).run() for n_jobs in (None, 2)
    )
    assert_same(together, alone, 0)
    assert (together.pairs != alone.pairs).nnz == 0


@pytest.mark.slow
@pytest.mark.optional
def test_a_dask_cluster_gives_the_same(compiled: EncoderPlan):
    distributed = pytest.importorskip("distributed")
    import joblib

    alone = screen(compiled, chunk_cells=9).run()
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        assert_same(screen(compiled, chunk_cells=9).run(), alone, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same(compiled: EncoderPlan):
    torch.manual_seed(0)
    module = BetaLinearVAE(N_FEATURES, n_batch=2, n_hidden=16, n_latent=4).cuda()
    there = encoder_plan(module, matrix()[:32], {key: values[:32] for key, values in fields().items()})
    assert there.fused is None
    for library in ("original", "renorm"):
        assert_same(screen(there, library=library).run(), screen(compiled, library=library).run(), 1e-4)


def test_pairs_have_the_pattern_of_the_data(plan: EncoderPlan):
    knockouts = [((feature, Perturbation.parse("a:ko").edits[0]),) for feature in range(N_FEATURES)]
    keep = np.array([4, 0, 17])
    setting = screen(plan, items=knockouts, keep=keep, chunk_cells=8)
    sums = setting.run()
    x = sparse.csr_matrix(matrix()[:, keep])
    assert sums.pairs.shape == x.shape
    assert sums.pairs.dtype == np.float32
    np.testing.assert_array_equal(sums.pairs.indptr, x.indptr)
    np.testing.assert_array_equal(sums.pairs.indices, x.indices)
    for group in range(N_GROUPS):
        total = sums.pairs[setting.groups == group].sum(axis=0)
        np.testing.assert_allclose(np.ravel(total), sums.distance[keep, group], rtol=1e-5)
    assert screen(plan).run().pairs is None


def test_draws_follow_the_seed(compiled: EncoderPlan):
    thinned = items(["g0:thin0.5", "g1:thin0.5"])
    first, again, other = (screen(compiled, items=thinned, seed=seed).run().shift for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_progress_is_told_shard_by_shard(compiled: EncoderPlan):
    seen: list[int] = []

    def track(starts: range) -> list[int]:
        seen.extend(starts)
        return list(starts)

    setting = screen(compiled, chunk_cells=20, track=track)
    setting.count()
    assert seen == []
    setting.run()
    assert seen == [0, 20, 40]


def test_an_error_while_reading_is_raised(compiled: EncoderPlan):
    class Broken:
        shape = (N_CELLS, N_FEATURES)

        def __getitem__(self, rows: slice) -> np.ndarray:
            if rows.start > 10:
                msg = "the disk is gone"
                raise OSError(msg)
            return matrix()[rows]

    with pytest.raises(OSError, match="the disk is gone"):
        screen(compiled, Broken(), chunk_cells=8).run()
