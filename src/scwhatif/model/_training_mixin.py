"""Training shared by all models of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scvi.model.base import UnsupervisedTrainingMixin

from scwhatif._compat import SimpleLogger, get_max_epochs_heuristic, seeded
from scwhatif.model._atomic_save_mixin import AtomicSaveMixin
from scwhatif.train import TrainingDivergedError, TrainingPlan
from scwhatif.train._ddp import ddp_settings, everywhere, stopped_early_by_us, uses_ddp
from scwhatif.train._early_stopping import early_stopping_callback
from scwhatif.train._fit_checkpoint import FitCheckpoint
from scwhatif.train._last_epoch import LastEpoch, interruptible

if TYPE_CHECKING:
    from pathlib import Path

    from lightning import LightningDataModule


class TrainingMixin(AtomicSaveMixin, UnsupervisedTrainingMixin):
    """Adds a seed per fit, early stopping on the objective, and a clean end when training diverges or is stopped."""

    _training_plan_cls = TrainingPlan
    # a model that leaves parameters unused in some steps needs "ddp_find_unused_parameters_true"
    _ddp_strategy = "ddp"
    # whether all that the training plan remembers is in Lightning's checkpoint
    _resumable = True
    is_trained_: bool
    module: Any
    history_: Any
    trainer: Any

    def train(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int = 128,
        train_size: float | None = None,
        validation_size: float | None = None,
        early_stopping: bool = False,
        gradient_clip_val: float | None = None,
        seed: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        datamodule: LightningDataModule | None = None,
        checkpoint: str | Path | None = None,
        plan_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train the model.

        Parameters
        ----------
        max_epochs
            Number of epochs; ``None`` uses scvi-tools' heuristic (400, fewer for more than 20 000 cells).
        batch_size
            Cells per step.
        train_size, validation_size
            Fractions of cells; by default 0.9 and the rest. The remainder is a test set.
        early_stopping
            Stop when ``objective_validation`` (the quantity being minimised, at full weight) has not improved for
            ``early_stopping_patience`` epochs, counted from the end of the KL warm-up.
        gradient_clip_val
            Largest gradient norm; ``None`` does not clip.
        seed
            Seeds the data split and the training noise of this fit only; the global generators are left as they
            were. ``None`` draws from the global generators (``scvi.settings.seed``).
        accelerator, devices
            As in :class:`lightning.pytorch.Trainer`.
        datamodule
            Used instead of ``adata`` by a model made from a ``registry``.
        checkpoint
            File from which a fit that was stopped goes on, and ends as if it had not been. It is written at every
            epoch, and refused if it belongs to another fit. Needs a seed.
        plan_kwargs
            Arguments of :class:`scwhatif.train.TrainingPlan`: ``lr``, ``weight_decay``, ``lr_schedule``,
            ``kl_warmup`` …
        **kwargs
            Further arguments of scvi-tools' ``train`` and :class:`scvi.train.Trainer`.

        Raises
        ------
        ValueError
            More than one process, or a checkpoint, is asked for without a seed: every process would draw its own
            validation set; the checkpoint is damaged or belongs to another fit, or the model knows none.
        TrainingDivergedError
            The loss stopped being a number. The model keeps the weights of the last healthy epoch.
        KeyboardInterrupt
            Training was interrupted. The model keeps the weights and the history of the last whole epoch.
        """
        if uses_ddp(kwargs.get("strategy"), devices, kwargs.get("num_nodes", 1)):
            # the default logger of several processes writes over that of any other fit in the working directory
            kwargs = {"logger": SimpleLogger()} | ddp_settings(kwargs, seed=seed, strategy=self._ddp_strategy)
        if max_epochs is None and datamodule is None:
            max_epochs = get_max_epochs_heuristic(self.adata.n_obs)
        if early_stopping and max_epochs is not None:
            warmup = (plan_kwargs or {}).get("kl_warmup", 0.25)
            kwargs.setdefault("early_stopping_monitor", "objective_validation")
            kwargs.setdefault(
                "early_stopping_warmup_epochs", self._training_plan_cls.n_warmup_epochs(warmup, max_epochs)
            )
        last_epoch = LastEpoch()
        callbacks: list[Any] = [*(kwargs.pop("callbacks", None) or []), last_epoch]
        if early_stopping:
            callbacks.append(early_stopping_callback(kwargs))
            kwargs["check_val_every_n_epoch"] = kwargs.get("check_val_every_n_epoch") or 1
        if checkpoint is not None:
            if not self._resumable:
                msg = f"{type(self).__name__} cannot go on from a checkpoint; leave checkpoint out."
                raise ValueError(msg)
            fit = {
                "model": type(self).__name__,
                "settings": {
                    k: v for k, v in self.init_params_["non_kwargs"].items() if k not in ("adata", "registry")
                },
                "n_obs": None if self.adata is None else self.adata.n_obs,
                "max_epochs": max_epochs,
                "batch_size": batch_size,
                "train_size": train_size,
                "seed": seed,
                "plan_kwargs": plan_kwargs,
            }
            callbacks.append(FitCheckpoint(checkpoint, fit))
            kwargs["ckpt_path"] = callbacks[-1].resume_from
        # metrics are logged per epoch; anything above 1 only makes Lightning warn on small data
        kwargs.setdefault("log_every_n_steps", 1)
        # Lightning keeps the mode it finds, and scvi-tools leaves a trained module in evaluation mode: no dropout
        self.module.train()
        with seeded(seed), stopped_early_by_us():
            try:
                with interruptible(last_epoch):
                    super().train(
                        max_epochs=max_epochs,
                        batch_size=batch_size,
                        train_size=train_size,
                        validation_size=validation_size,
                        early_stopping=False,
                        gradient_clip_val=gradient_clip_val,
                        accelerator=accelerator,
                        devices=devices,
                        datamodule=datamodule,
                        plan_kwargs=plan_kwargs,
                        callbacks=callbacks,
                        **kwargs,
                    )
            except TrainingDivergedError as error:
                self.is_trained_ = self.is_trained_ or error.n_epochs_kept > 0
                raise
            except KeyboardInterrupt:
                self._keep(last_epoch)
                raise
            finally:
                self.module.eval()
        self.history_ = everywhere(self.trainer, self.history_)
        self._after_training()

    def _keep(self, interrupted: LastEpoch) -> None:
        """Make what an interrupted fit has left a trained model."""
        if not interrupted.n_epochs:
            return
        self.trainer = interrupted.trainer
        for name in ("train", "validation", "test"):
            rows = getattr(self.trainer.datamodule, f"{name[:3] if name == 'validation' else name}_idx", None)
            setattr(self, f"{name}_indices", rows)
        self.is_trained_ = True
        self.module.eval()
        self._after_training()

    def _after_training(self) -> None:
        """Hook for models that tidy up once the weights are final."""
