from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from scwhatif.train._ddp import ddp_settings, everywhere, gathered, share_buffers, stopped_early_by_us, uses_ddp


@pytest.mark.parametrize(
    ("strategy", "devices", "num_nodes", "several"),
    [
        (None, 1, 1, False),
        (None, "auto", 1, False),
        (None, [0], 1, False),
        ("auto", 2, 1, True),
        (None, [0, 1], 1, True),
        (None, -1, 1, True),
        (None, 1, 2, True),
        ("ddp", 1, 1, True),
        ("ddp_find_unused_parameters_true", "auto", 1, True),
        (DDPStrategy(), 1, 1, True),
        (SingleDeviceStrategy(), 2, 1, False),
    ],
)
def test_what_runs_in_several_processes(strategy, devices, num_nodes, several):
    assert uses_ddp(strategy, devices, num_nodes) is several


def test_the_strategy_is_named_so_that_every_process_gets_its_own_cells():
    unused = "ddp_find_unused_parameters_true"
    assert ddp_settings({"a": 1}, seed=0) == {"a": 1, "strategy": "ddp"}
    assert ddp_settings({"strategy": "auto"}, seed=0, strategy=unused) == {"strategy": unused}
    assert ddp_settings({"strategy": "ddp"}, seed=0, strategy=unused) == {"strategy": unused}
    assert ddp_settings({"strategy": "ddp_spawn"}, seed=0, strategy=unused) == {"strategy": "ddp_spawn"}


def test_a_seed_is_demanded():
    with pytest.raises(ValueError, match=r"needs a seed.*Pass seed=0"):
        ddp_settings({}, seed=None)


def test_one_process_has_nothing_to_share():
    trainer = SimpleNamespace(world_size=1)
    assert everywhere(trainer, 3) == 3
    assert gathered(trainer, 3) == [3]
    module = torch.nn.BatchNorm1d(2)
    share_buffers(trainer, module)
    assert module.running_var.tolist() == [1, 1]


def test_buffers_are_those_of_the_first_process():
    first = {
        "running_mean": torch.tensor([3.0, 4.0]),
        "running_var": torch.ones(2),
        "num_batches_tracked": torch.tensor(5),
    }
    trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(broadcast=lambda value: first))
    module = torch.nn.BatchNorm1d(2)
    share_buffers(trainer, module)
    assert module.running_mean.tolist() == [3, 4]
    assert int(module.num_batches_tracked) == 5


def test_only_the_warning_that_is_wrong_is_silenced(recwarn):
    import warnings

    with stopped_early_by_us():
        warnings.warn("early_stopping was automatically disabled due to the use of DDP", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert [str(one.message) for one in recwarn] == ["something else"]
