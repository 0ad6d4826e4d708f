import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from scwhatif.train._fit_checkpoint import FitCheckpoint, _random_state, _set_random_state

FIT = {"max_epochs": 4, "seed": 0}


def write(path, **changed):
    there = FitCheckpoint(path.with_suffix(".other"), FIT | changed)
    torch.save({"callbacks": {there.state_key: {"fit": there.fit}}}, path)
    return path


def test_a_seed_is_demanded(tmp_path):
    with pytest.raises(ValueError, match=r"needs a seed.*Pass seed=0"):
        FitCheckpoint(tmp_path / "fit.ckpt", {"seed": None})


def test_only_a_file_that_is_there_is_gone_on_from(tmp_path):
    assert FitCheckpoint(tmp_path / "fit.ckpt", FIT).resume_from is None
    path = write(tmp_path / "fit.ckpt")
    assert FitCheckpoint(path, FIT).resume_from == str(path)


def test_another_fit_is_refused(tmp_path):
    path = write(tmp_path / "fit.ckpt", max_epochs=8)
    with pytest.raises(ValueError, match=r"differs in max_epochs \(there 8, here 4\)\. Delete it or choose another"):
        FitCheckpoint(path, FIT)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "model"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = write(tmp_path / "fit.ckpt")
    whole = path.read_bytes()
    if damage == "model":
        torch.save({"model_state_dict": {}}, path)
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"not a checkpoint"}[damage])
    with pytest.raises(ValueError, match="no checkpoint of a fit, or a damaged one; delete or rename it"):
        FitCheckpoint(path, FIT)


def test_random_numbers_go_on(tmp_path):
    def draw():
        return random.random(), np.random.random(), np.random.normal(), torch.rand(3).tolist()  # noqa: NPY002

    draw()
    # what torch loads without running code
    torch.save(_random_state(), tmp_path / "state")
    wanted = draw(), draw()
    draw()
    _set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert (draw(), draw()) == wanted


def test_the_history_goes_on():
    frame = pd.DataFrame({"elbo": [3.0, 2.0]}, index=pd.Index([0, 1], name="epoch"), dtype=object)
    callback = FitCheckpoint("nowhere.ckpt", FIT)
    callback._trainer = SimpleNamespace(logger=SimpleNamespace(history={"elbo": frame}))
    state = callback.state_dict()
    again = FitCheckpoint("nowhere.ckpt", FIT)
    again.load_state_dict(state)
    logger = SimpleNamespace(experiment=SimpleNamespace(data={}))
    trainer = SimpleNamespace(is_global_zero=True, logger=logger, should_stop=False)
    again.on_fit_start(trainer, None)
    pd.testing.assert_frame_equal(logger.experiment.data["elbo"], frame.astype(float))
    assert not trainer.should_stop
