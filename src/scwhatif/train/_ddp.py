"""Training in several processes: what scvi-tools and Lightning leave undone, in one place."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import scvi
import torch
from lightning.pytorch.strategies import DDPStrategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning.pytorch import Trainer


def uses_ddp(strategy: Any, devices: Any, num_nodes: int = 1) -> bool:
    """Whether a fit runs in several processes.

    Parameters
    ----------
    strategy, devices, num_nodes
        As in :class:`lightning.pytorch.Trainer`.

    Returns
    -------
    True where a DDP strategy is asked for, and where Lightning would choose one for the devices.
    """
    if strategy in (None, "auto"):
        n_devices = len(devices) if isinstance(devices, list | tuple) else devices
        return num_nodes > 1 or (isinstance(n_devices, int) and n_devices > 1) or devices == -1
    return "ddp" in strategy if isinstance(strategy, str) else isinstance(strategy, DDPStrategy)


def ddp_settings(given: dict[str, Any], *, seed: int | None, strategy: str = "ddp") -> dict[str, Any]:
    """Arguments of the trainer for several processes.

    Parameters
    ----------
    given
        Arguments as given.
    seed
        Seed of the fit.
    strategy
        What the model needs of ``"ddp"``.

    Returns
    -------
    The arguments, with that strategy where none, or plain ``"ddp"``, is named: scvi-tools gives every process its own
    cells only where it reads such a name.

    Raises
    ------
    ValueError
        There is no seed.
    """
    if seed is None and scvi.settings.seed is None:
        msg = (
            "Training in several processes needs a seed, or every process holds out different cells and trains "
            "on the others' validation cells. Pass seed=0."
        )
        raise ValueError(msg)
    named = given.get("strategy")
    return {**given, "strategy": strategy if named in (None, "auto", "ddp") else named}


@contextmanager
def stopped_early_by_us() -> Iterator[None]:
    """Without scvi-tools' warning that it does not stop early in several processes; we do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "early_stopping was automatically disabled", UserWarning)
        yield


def everywhere(trainer: Trainer, value: Any) -> Any:
    """What the first process has, in every process.

    Parameters
    ----------
    trainer
        Trainer of a fit that has ended or is under way.
    value
        Anything that can be pickled.

    Returns
    -------
    The value of the first process.
    """
    return trainer.strategy.broadcast(value) if trainer.world_size > 1 else value


def share_buffers(trainer: Trainer, module: torch.nn.Module) -> None:
    """Give every process the first one's buffers: running averages follow a process's own batches.

    Parameters
    ----------
    trainer
        Trainer of a fit that is under way.
    module
        The module.
    """
    if trainer.world_size == 1:
        return
    buffers = dict(module.named_buffers())
    first = everywhere(trainer, {name: buffer.cpu() for name, buffer in buffers.items()})
    for name, buffer in buffers.items():
        buffer.copy_(first[name])


def gathered(trainer: Trainer, value: Any) -> list[Any]:
    """What every process has, in every process, in the order of their ranks.

    Parameters
    ----------
    trainer
        Trainer of a fit that is under way.
    value
        Anything that can be pickled; tensors on the CPU.

    Returns
    -------
    One value per process.
    """
    if trainer.world_size == 1:
        return [value]
    values = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values
