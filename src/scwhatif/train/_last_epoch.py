"""What is left of a fit that is interrupted."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning.pytorch import LightningModule, Trainer


class LastEpoch(Callback):
    """On Ctrl-C, returns to the weights at the end of the last whole epoch.

    The training plan says how, in ``restore_last_epoch``.

    Attributes
    ----------
    trainer
        Of the fit, once it has begun.
    n_epochs
        Number of whole epochs at the time of the interruption, ``None`` if there was none.
    """

    def __init__(self) -> None:
        self.trainer: Trainer | None = None
        self.n_epochs: int | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the trainer, which scvi-tools hands out only after a fit that ends well."""
        self.trainer = trainer

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Restore the weights."""
        if isinstance(exception, KeyboardInterrupt):
            self.n_epochs = trainer.current_epoch
            pl_module.restore_last_epoch()


@contextmanager
def interruptible(last_epoch: LastEpoch) -> Iterator[None]:
    """Let Ctrl-C end a fit as it ends anything else; Lightning would end Python, and ignore any Ctrl-C to come.

    Parameters
    ----------
    last_epoch
        One of the callbacks of the trainer.

    Raises
    ------
    KeyboardInterrupt
        The fit was interrupted; says how many epochs are kept.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        if last_epoch.n_epochs is None:
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        msg = (
            f"Training was interrupted in epoch {last_epoch.n_epochs} (counting from 0). The model keeps the weights "
            "and the history of the epochs before."
        )
        raise KeyboardInterrupt(msg) from None
