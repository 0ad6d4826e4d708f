"""The training plan of all models in this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import scvi.train
import torch
from scvi import REGISTRY_KEYS

from scwhatif.train._divergence import TrainingDivergedError
from scwhatif.train._feature_major_adamw import FeatureMajorAdamW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scvi.module.base import BaseModuleClass, LossOutput

# what the derived-from plan calls the warm-up and the weight
_REPLACED = {"n_epochs_kl_warmup", "n_steps_kl_warmup", "max_kl_weight", "min_kl_weight"}
_TERMS = ("loss", "reconstruction_loss", "kl_local", "objective")


class TrainingPlan(scvi.train.TrainingPlan):
    """AdamW, a KL warm-up tied to the number of epochs, a divergence guard, and metrics summed once per epoch.

    Compared with the plan it derives from: the warm-up always ends within training, whatever ``max_epochs``;
    ``elbo_*`` is the true (unweighted) negative ELBO and ``objective_*`` the quantity being minimised at full
    weight, which is what early stopping should watch; metrics are accumulated on the device and reduced once per
    epoch, so they also work across processes; a loss that is no longer a number stops training with
    :class:`TrainingDivergedError` after the weights of the last healthy epoch have been restored.

    Parameters
    ----------
    module
        Module to train. Its ``loss`` may report ``extra_metrics["objective"]`` and ``extra_metrics["kl_z"]``
        (``(n_latent,)``); the latter is logged as ``kl_z0_train``, ``kl_z1_train`` …
    optimizer
        ``"AdamW"``, ``"Adam"`` or ``"Custom"`` with ``optimizer_creator``.
    lr, weight_decay, eps
        Of the optimizer. Decay applies to weight matrices of layers only, not to biases, dispersions or covariate
        effects.
    lr_schedule
        ``"cosine"`` anneals the learning rate to 0 over ``max_epochs``.
    kl_warmup
        Fraction of ``max_epochs`` (float, 0 to 1) or number of epochs (int, at most ``max_epochs``) over which the
        latent penalty rises linearly from 0 to its full weight.
    **kwargs
        Further arguments of :class:`scvi.train.TrainingPlan`.

    Raises
    ------
    ValueError
        An unknown or contradictory schedule, a warm-up that is neither a fraction nor a number of epochs, or an
        argument of scvi-tools' plan that ``kl_warmup`` and the model's β replace.
    """

    def __init__(
        self,
        module: BaseModuleClass,
        *,
        optimizer: Literal["AdamW", "Adam", "Custom"] = "AdamW",
        lr: float = 5e-3,
        weight_decay: float = 1e-2,
        eps: float = 1e-8,
        lr_schedule: Literal["cosine"] | None = None,
        kl_warmup: float | int = 0.25,
        **kwargs: Any,
    ) -> None:
        if lr_schedule not in (None, "cosine"):
            msg = f"lr_schedule={lr_schedule!r} is not known; use 'cosine' or None."
            raise ValueError(msg)
        if lr_schedule and kwargs.get("reduce_lr_on_plateau"):
            msg = "lr_schedule and reduce_lr_on_plateau both drive the learning rate; choose one."
            raise ValueError(msg)
        if kl_warmup < 0 or (isinstance(kl_warmup, float) and kl_warmup > 1):
            msg = f"kl_warmup={kl_warmup} must be a fraction of max_epochs (float in [0, 1]) or a number of epochs."
            raise ValueError(msg)
        replaced = sorted(_REPLACED & set(kwargs))
        if replaced:
            msg = (
                f"{replaced} have no effect here: use kl_warmup for the warm-up, and beta of the model for the weight."
            )
            raise ValueError(msg)
        super().__init__(module, optimizer=optimizer, lr=lr, weight_decay=weight_decay, eps=eps, **kwargs)
        self.lr_schedule = lr_schedule
        self.kl_warmup = kl_warmup
        self._sums: dict[str, torch.Tensor] = {}
        self._latent_moments: torch.Tensor | None = None
        # weights at the start of the last epoch that ended well, and at the start of the current one: only the
        # former have been seen to give finite losses
        self._healthy_state: dict[str, torch.Tensor] = {}
        self._current_state: dict[str, torch.Tensor] = {}

    @staticmethod
    def n_warmup_epochs(kl_warmup: float | int, max_epochs: int) -> int:
        """Number of epochs before the full weight is reached; always below ``max_epochs``.

        Parameters
        ----------
        kl_warmup
            Fraction of ``max_epochs`` (float) or number of epochs (int).
        max_epochs
            Number of epochs of the fit.

        Returns
        -------
        Number of epochs.
        """
        n_epochs = int(kl_warmup * max_epochs) if isinstance(kl_warmup, float) else kl_warmup
        return max(min(n_epochs, max_epochs - 1), 0)

    @property
    def kl_weight(self) -> float:
        """Position in the warm-up, 0 to 1."""
        if not self._trainer or not self.trainer.max_epochs or self.trainer.max_epochs < 0:
            return 1.0
        n_warmup = self.n_warmup_epochs(self.kl_warmup, self.trainer.max_epochs)
        return min(self.current_epoch / n_warmup, 1.0) if n_warmup else 1.0

    def configure_optimizers(self) -> dict[str, Any]:
        """Optimizer with decay on layer weights only, and the schedule."""
        config = super().configure_optimizers()
        if self.optimizer_name == "AdamW":
            trainable = [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]
            is_layer_weight = [name.endswith("weight") and p.dim() > 1 for name, p in trainable]
            groups: list[dict[str, Any]] = [
                {"params": [p for (_, p), decays in zip(trainable, is_layer_weight, strict=True) if decays]},
                {
                    "params": [p for (_, p), decays in zip(trainable, is_layer_weight, strict=True) if not decays],
                    "weight_decay": 0.0,
                },
            ]
            config["optimizer"] = FeatureMajorAdamW(
                groups,
                lr=self.lr,
                eps=self.eps,
                weight_decay=self.weight_decay,
                fused=self.device.type in ("cpu", "cuda"),
            )
        if self.lr_schedule == "cosine":
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(config["optimizer"], T_max=self.trainer.max_epochs)
            config["lr_scheduler"] = {"scheduler": scheduler, "interval": "epoch"}
        return config

    def on_train_start(self) -> None:
        """Start the decoder at the training data's moments (once in a model's life) and take the first snapshot."""
        if not getattr(self.module, "initialized", True):
            self._initialize_module()
        self._current_state = self._healthy_state = self._snapshot()

    def _initialize_module(self) -> None:
        n_batch, n_input = self.module.n_batch, self.module.n_input
        totals = torch.zeros(n_batch, 2 * n_input + 2, dtype=torch.float64, device=self.device)
        for tensors in self._training_batches():
            x = tensors[REGISTRY_KEYS.X_KEY].to(self.device)
            x = (x.to_dense() if x.layout is not torch.strided else x).double()
            size_factor = tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY)
            exposure = x.sum(-1, keepdim=True) if size_factor is None else size_factor.to(x)
            moments = torch.cat([x, x.square(), exposure, torch.ones_like(exposure)], dim=-1)
            totals.index_add_(0, tensors[REGISTRY_KEYS.BATCH_KEY].squeeze(-1).long().to(self.device), moments)
        totals = self._reduce(totals).float()
        self.module.initialize(totals[:, :n_input], totals[:, n_input : 2 * n_input], totals[:, -2:-1], totals[:, -1:])

    def _training_batches(self) -> Iterator[dict[str, torch.Tensor]]:
        """Batches as :meth:`training_step` gets them: data modules of others put them in shape on their way."""
        for batch in self.trainer.train_dataloader:
            yield self.trainer.datamodule.on_before_batch_transfer(batch, 0)

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One optimisation step."""
        self.loss_kwargs.update({"kl_weight": self.kl_weight})
        inference_outputs, _, output = self.forward(batch, loss_kwargs=self.loss_kwargs)
        self._accumulate("train", output)
        mean = inference_outputs["qz"].mean.detach()
        moments = torch.cat([mean.sum(0, keepdim=True), mean.T @ mean])
        self._latent_moments = moments if self._latent_moments is None else self._latent_moments + moments
        self.log(
            "train_loss",
            output.loss.detach(),
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(mean),
            sync_dist=True,
        )
        return output.loss

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Metrics on one validation batch."""
        self.loss_kwargs.update({"kl_weight": self.kl_weight})
        _, _, output = self.forward(batch, loss_kwargs=self.loss_kwargs)
        self._accumulate("validation", output)

    def _accumulate(self, stage: str, output: LossOutput) -> None:
        n_cells = output.n_obs_minibatch
        loss = output.loss.detach()
        terms = torch.stack(
            [
                loss * n_cells,
                output.reconstruction_loss_sum.detach(),
                output.kl_local_sum.detach(),
                output.extra_metrics.get("objective", loss) * n_cells,
                loss.new_tensor(n_cells),
            ]
        )
        per_dimension = output.extra_metrics.get("kl_z", loss.new_zeros(0)) * n_cells
        sums = torch.cat([terms, per_dimension]).double()
        self._sums[stage] = self._sums[stage] + sums if stage in self._sums else sums

    def on_train_epoch_end(self) -> None:
        """Check the epoch's health, then log it."""
        means = self._epoch_means("train")
        if not torch.isfinite(means).all() or not self._weights_are_finite():
            self._restore_and_raise(means)
        self._log("train", means)
        self.log("kl_weight", self.kl_weight, sync_dist=True)
        if self._latent_moments is not None and hasattr(self.module, "latent_covariance"):
            moments = self._reduce(self._latent_moments) / self._n_cells
            self.module.latent_covariance.copy_(moments[1:] - torch.outer(moments[0], moments[0]))
        self._latent_moments = None
        self._healthy_state, self._current_state = self._current_state, self._snapshot()

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        if "validation" in self._sums:
            means = self._epoch_means("validation")
            self.log("validation_loss", means[0], sync_dist=True)
            self._log("validation", means)

    def _epoch_means(self, stage: str) -> torch.Tensor:
        sums = self._reduce(self._sums.pop(stage))
        self._n_cells = float(sums[len(_TERMS)].item())
        return torch.cat([sums[: len(_TERMS)], sums[len(_TERMS) + 1 :]]) / self._n_cells

    def _log(self, stage: str, means: torch.Tensor) -> None:
        _, reconstruction, kl, objective = means[: len(_TERMS)].tolist()
        metrics = {
            f"elbo_{stage}": reconstruction + kl,
            f"reconstruction_loss_{stage}": reconstruction,
            f"kl_local_{stage}": kl,
            f"objective_{stage}": objective,
        }
        metrics |= {f"kl_z{j}_{stage}": value for j, value in enumerate(means[len(_TERMS) :].tolist())}
        self.log_dict(metrics, sync_dist=True)

    def _reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.trainer.strategy.reduce(tensor, reduce_op="sum") if self.trainer.world_size > 1 else tensor

    def restore_last_epoch(self) -> None:
        """Return to the weights at the end of the last whole epoch."""
        if self._current_state:
            self.module.load_state_dict(self._current_state)

    def _weights_are_finite(self) -> bool:
        return all(bool(torch.isfinite(p).all()) for p in self.module.parameters())

    def _snapshot(self) -> dict[str, torch.Tensor]:
        return {key: value.detach().clone() for key, value in self.module.state_dict().items()}

    def _restore_and_raise(self, means: torch.Tensor) -> None:
        self.module.load_state_dict(self._healthy_state)
        _, reconstruction, kl, _ = means[: len(_TERMS)].tolist()
        batch = next(self._training_batches())[REGISTRY_KEYS.X_KEY]
        values = batch.to_dense() if batch.layout is not torch.strided else batch
        if not torch.isfinite(values).all():
            cause = "the data hold NaN or infinite values; remove them before setup_anndata"
        else:
            cause = (
                f"the learning rate lr={self.lr:g} is too high for data with values up to {values.max().item():g}; "
                f"lower it (plan_kwargs={{'lr': {self.lr / 10:g}}}) or clip harder (gradient_clip_val)"
            )
        epoch = self.current_epoch
        n_kept = max(epoch - 1, 0)
        healthy = f"the weights after {n_kept} healthy epoch(s)" if n_kept else "the weights before training"
        msg = (
            f"Training diverged in epoch {epoch} (counting from 0): reconstruction loss {reconstruction:g}, "
            f"KL {kl:g}. Restored {healthy}. Likely cause: {cause}."
        )
        raise TrainingDivergedError(msg, epoch, n_kept)
