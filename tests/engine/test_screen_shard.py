"""Tests of what one shard adds to a screen."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from scwhatif.engine import FeatureCounts, encoder_plan
from scwhatif.engine._item_table import ItemTable
from scwhatif.engine._screen_shard import ShardTask
from scwhatif.module import BetaLinearVAE
from scwhatif.perturbation import Perturbation

N_CELLS, N_FEATURES = 20, 8


def cells() -> sparse.csr_matrix:
    return sparse.csr_matrix(np.random.default_rng(0).poisson(0.7, (N_CELLS, N_FEATURES)).astype(np.float32))


@pytest.fixture(scope="module")
def task() -> ShardTask:
    torch.manual_seed(0)
    module = BetaLinearVAE(N_FEATURES, n_hidden=8, n_latent=3)
    plan = encoder_plan(module, cells(), {"batch": np.zeros((N_CELLS, 1), np.int64)})
    names = [f"g{i}" for i in range(N_FEATURES)]
    items = [tuple(Perturbation.parse(text).feature_edits(names)) for text in ("g0:ko", "{g1,g2}:ko", "g0:x3")]
    return ShardTask(
        plan=plan,
        table=ItemTable.from_items(items),
        n_groups=2,
        within=None,
        library="original",
        seed=0,
        chunk_cells=6,
        batch_size=None,
        keep=None,
    )


def shares(task: ShardTask, rows: slice):
    groups = np.arange(N_CELLS) % 2
    fields = {"batch": np.zeros((N_CELLS, 1), np.int64)}
    start = rows.indices(N_CELLS)[0]
    return task.run(start, cells()[rows], groups[rows], {key: values[rows] for key, values in fields.items()})


def test_shards_add_up(task: ShardTask):
    whole, first, second = (shares(task, rows) for rows in (slice(0, 20), slice(0, 7), slice(7, 20)))
    np.testing.assert_allclose(first.effects + second.effects, whole.effects, rtol=1e-6, atol=1e-6)
    assert whole.effects.shape == (3, 2, 5)
    total = FeatureCounts.zeros(N_FEATURES, 3, 2)
    total.add(first.counts)
    total.add(second.counts)
    for name, values in vars(whole.counts).items():
        np.testing.assert_array_equal(getattr(total, name), values)


def test_digests_add_up_and_tell_values_and_places_apart(task: ShardTask):
    def digest(x: sparse.csr_matrix, first_row: int = 0) -> int:
        return int(task.digest(first_row, x, np.zeros(x.shape[0], np.int64))[0])

    x = cells()
    assert digest(x) == (digest(x[:7]) + digest(x[7:], 7)) % 2**64
    assert shares(task, slice(0, 20)).digest.tolist() == [0]
    assert shares(replace(task, fingerprint=True), slice(3, 20)).digest.tolist() == [digest(x[3:], 3)]
    others = []
    for row, column, value in ((4, x[4].indices[0], 9.5), (4, x[4].indices[0], 0)):
        other = x.tolil()
        other[row, column] = value
        others.append(digest(sparse.csr_matrix(other)))
    order = np.arange(N_CELLS)
    order[[4, 9]] = order[[9, 4]]
    found = [digest(x), digest(x, 1), digest(x[order]), digest(x[:, ::-1].tocsr()), *others]
    assert len(set(found)) == len(found)


def test_counting_equals_running(task: ShardTask):
    groups = np.arange(N_CELLS) % 2
    counts = task.count(0, cells(), groups)
    for name, values in vars(shares(task, slice(0, 20)).counts).items():
        np.testing.assert_array_equal(getattr(counts, name), values)


def test_a_task_can_be_sent_elsewhere(task: ShardTask):
    sent = pickle.loads(pickle.dumps(task))
    np.testing.assert_array_equal(shares(sent, slice(0, 20)).effects, shares(task, slice(0, 20)).effects)


def test_kept_pairs_are_in_the_order_asked_for(task: ShardTask):
    plain = shares(task, slice(0, 20))
    kept = shares(replace(task, keep=np.array([2, 0])), slice(0, 20))
    assert plain.pairs is None
    assert kept.pairs.shape == (N_CELLS, 2)
    np.testing.assert_allclose(np.ravel(kept.pairs.sum(axis=0)), plain.effects[[2, 0], :, 3].sum(axis=1), rtol=1e-6)
    nothing = ItemTable.from_items([((0, Perturbation.parse("a:x1").edits[0]),)])
    empty = shares(replace(task, table=nothing, keep=np.array([0])), slice(0, 20)).pairs
    assert empty.shape == (N_CELLS, 1)
    assert empty.nnz == 0


def test_a_cell_without_anything_left_is_not_rescaled(task: ShardTask):
    x = sparse.csr_matrix((np.array([5.0], np.float32), [0], [0, 1]), shape=(1, N_FEATURES))
    group, fields = np.zeros(1, np.int64), {"batch": np.zeros((1, 1), np.int64)}
    plain, scaled = (
        replace(task, library=library).run(0, x, group, fields).effects for library in ("original", "renorm")
    )
    np.testing.assert_allclose(scaled[0], plain[0], atol=1e-6)
    # three times the only gene, scaled back, is what it was
    np.testing.assert_allclose(scaled[2], 0, atol=1e-5)
    assert np.abs(plain[2]).max() > 1e-3
