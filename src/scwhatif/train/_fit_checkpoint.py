"""A checkpoint from which a fit goes on as if it had never stopped."""

from __future__ import annotations

import random
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning.pytorch import LightningModule, Trainer

_KEY = "scwhatif.train.FitCheckpoint"


class FitCheckpoint(Callback):
    """Writes all that a fit needs to go on, before every epoch and at the end.

    Lightning keeps weights, optimiser, schedules, and the count of epochs, and replaces the file in one step, so that
    a full disk or a killed process leaves the one before. Added here: the random state and the history.

    Parameters
    ----------
    path
        The file. If it exists, training goes on from it.
    fit
        What makes it this fit: a file with another one is refused.

    Attributes
    ----------
    resume_from
        The file if it is there to go on from, for Lightning's ``ckpt_path``.

    Raises
    ------
    ValueError
        There is no seed, or the file is damaged or is the checkpoint of another fit.
    """

    def __init__(self, path: str | Path, fit: Mapping[str, Any]) -> None:
        if fit.get("seed") is None:
            msg = "A checkpoint needs a seed, or a fit that goes on would hold out other cells. Pass seed=0."
            raise ValueError(msg)
        self.path = Path(path)
        self.fit = {name: repr(value) for name, value in fit.items()}
        self._random: dict[str, Any] | None = None
        self._history: dict[str, Any] = {}
        self._stopped = False
        self.resume_from = str(self.path) if self.path.exists() else None
        if self.resume_from:
            self._check()

    def _check(self) -> None:
        try:
            there = torch.load(self.path, map_location="cpu", weights_only=True)["callbacks"][_KEY]["fit"]
        except (EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
            msg = f"checkpoint={str(self.path)!r} is no checkpoint of a fit, or a damaged one; delete or rename it."
            raise ValueError(msg) from error
        for name, value in self.fit.items():
            if there.get(name) != value:
                msg = (
                    f"checkpoint={str(self.path)!r} belongs to another fit: it differs in {name} (there "
                    f"{there.get(name)}, here {value}). Delete it or choose another."
                )
                raise ValueError(msg)

    @property
    def state_key(self) -> str:
        """Name of this callback's part of the checkpoint."""
        return _KEY

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up the history, and do not go on where training had stopped early."""
        self._trainer = trainer
        if self._history and trainer.is_global_zero:
            trainer.logger.experiment.data = {  # type: ignore[union-attr]
                name: pd.DataFrame({name: one["values"]}, index=pd.Index(one["index"], name=one["by"]))
                for name, one in self._history.items()
            }
        if self._stopped:
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint, or take up the random state of the one that was read."""
        if self._random is None:
            # as Lightning does next; a checkpoint of before would take this epoch's batches for done
            trainer.fit_loop.epoch_loop.batch_progress.reset_on_run()
            trainer.save_checkpoint(self.path)
            return
        _set_random_state(self._random)
        self._random = None
        # an iterator made before every other epoch is made by Lightning after this point, and draws
        iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last checkpoint, with the weights that training ends with."""
        self._stopped = trainer.should_stop
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        """State for the checkpoint, in types that torch loads without running code."""
        history = getattr(self._trainer.logger, "history", {})
        return {
            "fit": self.fit,
            "random": _random_state(),
            "stopped": self._stopped,
            "history": {
                name: {
                    "index": frame.index.tolist(),
                    "values": frame[name].astype(float).tolist(),
                    "by": frame.index.name,
                }
                for name, frame in history.items()
            },
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read the state.

        Parameters
        ----------
        state_dict
            What :meth:`state_dict` returned.
        """
        self._random, self._history = state_dict["random"], state_dict["history"]
        self._stopped = state_dict["stopped"]


def _random_state() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
