"""Training shared by all models of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scvi.model.base import UnsupervisedTrainingMixin

from scwhatif._compat import get_max_epochs_heuristic, seeded
from scwhatif.train import TrainingDivergedError, TrainingPlan

if TYPE_CHECKING:
    from lightning import LightningDataModule


class TrainingMixin(UnsupervisedTrainingMixin):
    """Adds a seed per fit, early stopping on the objective, and a clean end when training diverges."""

    _training_plan_cls = TrainingPlan
    is_trained_: bool
    module: Any

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
        plan_kwargs
            Arguments of :class:`scwhatif.train.TrainingPlan`: ``lr``, ``weight_decay``, ``lr_schedule``,
            ``kl_warmup`` …
        **kwargs
            Further arguments of scvi-tools' ``train`` and :class:`scvi.train.Trainer`.

        Raises
        ------
        ValueError
            More than one process is asked for without a seed: every process would draw its own validation set.
        TrainingDivergedError
            The loss stopped being a number. The model keeps the weights of the last healthy epoch.
        """
        import scvi

        if "ddp" in str(kwargs.get("strategy", "")) and seed is None and scvi.settings.seed is None:
            msg = (
                "Training in several processes needs a seed, or every process holds out different cells and trains "
                "on the others' validation cells. Pass seed=0."
            )
            raise ValueError(msg)
        if max_epochs is None and datamodule is None:
            max_epochs = get_max_epochs_heuristic(self.adata.n_obs)
        if early_stopping and max_epochs is not None:
            warmup = (plan_kwargs or {}).get("kl_warmup", 0.25)
            kwargs.setdefault("early_stopping_monitor", "objective_validation")
            kwargs.setdefault(
                "early_stopping_warmup_epochs", self._training_plan_cls.n_warmup_epochs(warmup, max_epochs)
            )
        # metrics are logged per epoch; anything above 1 only makes Lightning warn on small data
        kwargs.setdefault("log_every_n_steps", 1)
        # Lightning keeps the mode it finds, and scvi-tools leaves a trained module in evaluation mode: no dropout
        self.module.train()
        with seeded(seed):
            try:
                super().train(
                    max_epochs=max_epochs,
                    batch_size=batch_size,
                    train_size=train_size,
                    validation_size=validation_size,
                    early_stopping=early_stopping,
                    gradient_clip_val=gradient_clip_val,
                    accelerator=accelerator,
                    devices=devices,
                    datamodule=datamodule,
                    plan_kwargs=plan_kwargs,
                    **kwargs,
                )
            except TrainingDivergedError as error:
                self.is_trained_ = self.is_trained_ or error.n_epochs_kept > 0
                raise
            finally:
                self.module.eval()
        self._after_training()

    def _after_training(self) -> None:
        """Hook for models that tidy up once the weights are final."""
