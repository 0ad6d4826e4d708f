"""Early stopping that works in several processes and goes on after an interruption."""

from __future__ import annotations

from typing import Any

from scvi.train import LoudEarlyStopping

_PREFIX = "early_stopping_"
_DEFAULTS: dict[str, Any] = {
    "monitor": "objective_validation",
    "min_delta": 0.0,
    "patience": 45,
    "warmup_epochs": 0,
    "mode": "min",
}


class EarlyStopping(LoudEarlyStopping):
    """Stops as scvi-tools does, and keeps the number of epochs it has seen in the checkpoint.

    Parameters
    ----------
    loud
        Whether to print at the end why training stopped.
    **kwargs
        ``monitor``, ``min_delta``, ``patience`` and ``mode``, as in
        :class:`lightning.pytorch.callbacks.EarlyStopping`, and ``warmup_epochs``, the number of first validations that
        never stop training.
    """

    def __init__(self, *, loud: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loud = loud

    def teardown(self, trainer: Any, pl_module: Any, stage: str | None = None) -> None:
        """Print why training stopped, if wanted.

        Parameters
        ----------
        trainer, pl_module, stage
            What ended.
        """
        if self.loud:
            super().teardown(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return super().state_dict() | {"n_checked": self._current_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Parameters
        ----------
        state_dict
            What :meth:`state_dict` returned.
        """
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "n_checked"})
        self._current_step = state_dict["n_checked"]


def early_stopping_callback(kwargs: dict[str, Any]) -> EarlyStopping:
    """Take what concerns early stopping out of the arguments of scvi-tools' trainer, and make the callback of it.

    Parameters
    ----------
    kwargs
        Arguments of the trainer; those called ``early_stopping_…`` are removed. Without ``enable_progress_bar`` it says
        nothing.

    Returns
    -------
    The callback.
    """
    named = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith(_PREFIX)}
    settings = _DEFAULTS | {name.removeprefix(_PREFIX): value for name, value in named.items()}
    return EarlyStopping(loud=kwargs.get("enable_progress_bar", True), **settings)
