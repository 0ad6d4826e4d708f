"""What is raised when training diverges."""

from __future__ import annotations


class TrainingDivergedError(RuntimeError):
    """The loss stopped being a number; the last healthy weights have been restored.

    Parameters
    ----------
    message
        What happened, the likely cause and the remedy.
    epoch
        0-based epoch in which it happened.
    n_epochs_kept
        Number of epochs of this fit that the restored weights have been through.
    """

    def __init__(self, message: str, epoch: int, n_epochs_kept: int) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.n_epochs_kept = n_epochs_kept
