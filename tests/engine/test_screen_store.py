"""Tests of stopping a screen anywhere and going on: the same numbers, bit by bit."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
import torch

from scwhatif.engine import EncoderPlan, Item, Screen, ScreenStore, ScreenSums, encoder_plan
from scwhatif.module import BetaLinearVAE
from scwhatif.perturbation import Perturbation

if TYPE_CHECKING:
    from pathlib import Path

    from scipy import sparse

zarr = pytest.importorskip("zarr", minversion="3")

N_CELLS, N_FEATURES = 40, 12
KEEP = np.array([0, 2, 5])


@pytest.fixture(scope="module")
def plan() -> EncoderPlan:
    torch.manual_seed(0)
    module = BetaLinearVAE(N_FEATURES, n_hidden=8, n_latent=3)
    return encoder_plan(module, matrix()[:32], {"batch": np.zeros((32, 1), np.int64)})


def matrix() -> np.ndarray:
    return np.random.default_rng(0).poisson(0.7, (N_CELLS, N_FEATURES)).astype(np.float32)


def knockouts() -> list[Item]:
    return [((feature, Perturbation.parse("a:ko").edits[0]),) for feature in range(N_FEATURES)]


class Interrupted(np.ndarray):
    """Cells that can be read up to a row only."""

    stop = 10**9

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice) and (rows.stop or 0) - (rows.start or 0) > 1 and (rows.stop or 0) > self.stop:
            raise KeyboardInterrupt
        return np.asarray(self)[rows]


def screen(plan: EncoderPlan, path: Path | None, *, stop: int = 10**9, **kwargs: Any) -> Screen:
    x = matrix().view(Interrupted)
    x.stop = stop
    settings = {"items": knockouts(), "chunk_cells": 10, "keep": KEEP, "seed": 0, **kwargs}
    store = None if path is None else ScreenStore(path, {"model": "abc"}, seconds=0)
    fields = {"batch": np.zeros((N_CELLS, 1), np.int64)}
    return Screen(plan, x, fields, np.arange(N_CELLS) % 2, 2, store=store, **settings)


def assert_bitwise(found: ScreenSums, wanted: ScreenSums) -> None:
    for name in ("shift", "distance", "kl"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    for name, values in vars(wanted.counts).items():
        np.testing.assert_array_equal(getattr(found.counts, name), values)


def stored_pairs(path: Path) -> sparse.csr_matrix:
    return ad.io.read_elem(zarr.open_group(path)["distance"])


def test_the_store_changes_nothing(plan: EncoderPlan, tmp_path: Path):
    wanted = screen(plan, None).run()
    found = screen(plan, tmp_path / "s").run()
    assert_bitwise(found, wanted)
    assert found.pairs is None
    assert (stored_pairs(tmp_path / "s") != wanted.pairs).nnz == 0
    on_disk = ad.io.sparse_dataset(zarr.open_group(tmp_path / "s")["distance"])
    assert on_disk.shape == (N_CELLS, 3)
    np.testing.assert_array_equal(on_disk[5:9].toarray(), wanted.pairs[5:9].toarray())


def test_a_finished_screen_is_read_not_run(plan: EncoderPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = screen(plan, tmp_path / "s").run()
    monkeypatch.setattr(type(plan), "cells", None)
    assert_bitwise(screen(plan, tmp_path / "s").run(), wanted)


@pytest.mark.parametrize("stop", [3, 17, 39])
def test_going_on_gives_the_same(plan: EncoderPlan, tmp_path: Path, stop: int):
    wanted = screen(plan, None).run()
    path = tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        screen(plan, path, stop=stop).run()
    # what was done is not done again
    seen: list[int] = []
    found = screen(plan, path, track=lambda starts: seen.extend(starts) or starts).run()
    assert seen == list(range(stop // 10 * 10, N_CELLS, 10))
    assert_bitwise(found, wanted)
    assert (stored_pairs(path) != wanted.pairs).nnz == 0


def interrupted(plan: EncoderPlan, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        screen(plan, path, stop=17).run()


def test_half_an_append_is_cut_off(plan: EncoderPlan, tmp_path: Path):
    interrupted(plan, path := tmp_path / "s")
    pairs = zarr.open_group(path)["distance"]
    pairs["data"].append(np.full(7, 99, np.float32))
    pairs["indices"].append(np.full(3, 1, np.int32))
    found = screen(plan, path).run()
    wanted = screen(plan, None).run()
    assert_bitwise(found, wanted)
    stored = stored_pairs(path)
    assert (stored != wanted.pairs).nnz == 0
    np.testing.assert_array_equal(stored.indptr, wanted.pairs.indptr)


def test_half_a_checkpoint_does_not_count(plan: EncoderPlan, tmp_path: Path):
    interrupted(plan, path := tmp_path / "s")
    (last,) = path.glob("sums-*")
    shutil.copytree(last, path / "sums-000000000030.partial")
    (path / "sums-000000000030.partial" / "effects" / "zarr.json").unlink()
    assert_bitwise(screen(plan, path).run(), screen(plan, None).run())
    assert [folder.name for folder in path.glob("sums-*")] == [f"sums-{N_CELLS:012d}"]


def test_the_older_of_two_checkpoints_goes(plan: EncoderPlan, tmp_path: Path):
    interrupted(plan, path := tmp_path / "s")
    (last,) = path.glob("sums-*")
    older = path / "sums-000000000001"
    shutil.copytree(last, older)
    assert_bitwise(screen(plan, path).run(), screen(plan, None).run())
    assert not older.exists()


def test_stopped_while_the_store_was_made(plan: EncoderPlan, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        screen(plan, path := tmp_path / "s", stop=3).run()
    shutil.rmtree(path / "distance" / "indptr")
    assert_bitwise(screen(plan, path).run(), screen(plan, None).run())
    (tmp_path / "empty").mkdir()
    assert_bitwise(screen(plan, tmp_path / "empty").run(), screen(plan, None).run())


def test_pairs_that_are_gone_are_noticed(plan: EncoderPlan, tmp_path: Path):
    interrupted(plan, path := tmp_path / "s")
    zarr.open_group(path)["distance"]["data"].resize((1,))
    with pytest.raises(ValueError, match="damaged: pairs are missing"):
        screen(plan, path).run()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"chunk_cells": 5}, "cells per chunk"),
        ({"library": "renorm"}, "library"),
        ({"items": knockouts()[::-1]}, "perturbations"),
        ({"keep": KEEP[:2]}, "kept pairs"),
        ({"within": np.ones((N_FEATURES, 2), bool)}, "within"),
    ],
)
def test_another_screen_is_refused(plan: EncoderPlan, tmp_path: Path, change: dict[str, Any], named: str):
    interrupted(plan, path := tmp_path / "s")
    with pytest.raises(ValueError, match=f"another screen, which differs in {named} "):
        screen(plan, path, **change).run()
    # and is left as it is
    assert_bitwise(screen(plan, path).run(), screen(plan, None).run())


def test_other_data_and_models_are_refused(plan: EncoderPlan, tmp_path: Path):
    interrupted(plan, path := tmp_path / "s")
    setting = screen(plan, path)
    for name, values in (("data", matrix() + 1), ("groups", np.zeros(N_CELLS, int))):
        other = Screen(**{**vars(setting), "x" if name == "data" else name: values})
        with pytest.raises(ValueError, match=f"differs in {name} "):
            other.run()
    other = Screen(**{**vars(setting), "store": ScreenStore(path, {"model": "xyz"})})
    with pytest.raises(ValueError, match=r"differs in model \(there abc, here xyz\)"):
        other.run()


@pytest.mark.parametrize("change", ["one value", "order", "pattern"])
def test_a_change_of_one_cell_is_noticed_where_it_was_done(plan: EncoderPlan, tmp_path: Path, change: str):
    x = matrix()
    cell = 7
    if change == "one value":
        gene = np.flatnonzero(x[cell])[0]
        x[cell, gene] += 1
    elif change == "order":
        x[[cell, cell + 2]] = x[[cell + 2, cell]]
    else:
        x[cell, np.flatnonzero(x[cell] == 0)[0]] = 1
    interrupted(plan, path := tmp_path / "s")
    setting = screen(plan, path)
    with pytest.raises(ValueError, match=r"differs in data \(cells that are done"):
        Screen(**{**vars(setting), "x": x}).run()
    # cells that are not done yet are read as they are now
    later = matrix()
    later[35] += 1
    wanted = Screen(**{**vars(screen(plan, None)), "x": later}).run()
    assert_bitwise(Screen(**{**vars(setting), "x": later}).run(), wanted)
    with pytest.raises(ValueError, match="differs in data"):
        screen(plan, path).run()


def test_something_else_is_refused(plan: EncoderPlan, tmp_path: Path):
    zarr.open_group(tmp_path / "group", mode="w")
    with pytest.raises(ValueError, match="something other than a screen"):
        screen(plan, tmp_path / "group").run()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not a zarr group"):
        screen(plan, tmp_path / "folder").run()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="not a zarr group"):
        screen(plan, tmp_path / "file").run()
    interrupted(plan, path := tmp_path / "s")
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"not a zarr group, or a damaged one; choose another path or delete it\."):
        screen(plan, path).run()
    assert json.loads(text)["attributes"]["scwhatif_screen"] == 2


def test_checkpoints_are_not_written_all_the_time(plan: EncoderPlan, tmp_path: Path):
    setting = screen(plan, None)
    stored = Screen(**{**vars(setting), "store": ScreenStore(tmp_path / "s", {}, seconds=1e6)})
    stored.x.stop = 17
    with pytest.raises(KeyboardInterrupt):
        stored.run()
    assert not list((tmp_path / "s").glob("sums-*"))
    stored.x.stop = 10**9
    assert_bitwise(stored.run(), setting.run())
    assert len(list((tmp_path / "s").glob("sums-*"))) == 1
