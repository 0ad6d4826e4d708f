"""The training plan of :class:`scwhatif.model.CellLineEnergyModel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scwhatif.module._cell_line_energy import GROUP_KEY, LABEL_KEY, LINE_KEY, SUPPORT_KEY
from scwhatif.nn import reversal_schedule, unbiased_cross_correlation
from scwhatif.train._ddp import gathered, share_buffers
from scwhatif.train._divergence import TrainingDivergedError
from scwhatif.train._energy_curriculum import EnergyCurriculum
from scwhatif.train._energy_monitor import best_threshold, line_probe, line_scores
from scwhatif.train._training_plan import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scwhatif.module._cell_line_energy import CellLineEnergyModule

BLOCK_KEY = "block"
_NONZERO = 1e-6
_MONITORED_ROWS = 20_000


class EnergyTrainingPlan(TrainingPlan):
    """Episodes, a curriculum, what is watched per epoch, and the best weights at the end.

    Parameters
    ----------
    module
        Module to train.
    lr, weight_decay
        Of AdamW. Decay applies to weight matrices only, so neither to the coupling nor to the temperature.
    lambda_weight_decay
        Weight decay of the coupling.
    warmup_epochs, weight_step, weight_caps
        As ``warmup_epochs``, ``step`` and ``caps`` of :class:`scwhatif.train.EnergyCurriculum`.
    line_names
        Names of the cell lines by code, for the history.
    probe_every
        Epochs between two fits of the probe for the cell line; in between its last value is repeated.
    restore_best
        Whether the weights of the epoch with the highest ``validation_aupr`` are taken at the end; where there is an
        energy, of the epochs after the warm-up, if there are any.
    **kwargs
        Further arguments of :class:`scwhatif.train.TrainingPlan`.
    """

    module: CellLineEnergyModule

    def __init__(
        self,
        module: CellLineEnergyModule,
        *,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        lambda_weight_decay: float = 0.0,
        warmup_epochs: int = 2,
        weight_step: float = 0.01,
        weight_caps: Mapping[str, float] | None = None,
        line_names: Sequence[str] = (),
        probe_every: int = 5,
        restore_best: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, lr=lr, weight_decay=weight_decay, **kwargs)
        self.lambda_weight_decay = lambda_weight_decay
        self.curriculum = EnergyCurriculum(
            module.weights, caps=weight_caps, warmup_epochs=warmup_epochs, step=weight_step
        )
        self.line_names = list(line_names)
        self.probe_every = probe_every
        self.restore_best = restore_best
        self.best_epoch: int | None = None
        self.best_aupr = -np.inf
        self._best_is_complete = False
        self.thresholds = (0.5, 0.5)
        self._best_state: dict[str, torch.Tensor] = {}
        self._weights = self.curriculum.weights(0)
        self._totals: dict[str, float] = {}
        self._seen: dict[str, list[dict[str, torch.Tensor]]] = {"train": [], "validation": []}
        self._last_codes: tuple[torch.Tensor, torch.Tensor] | None = None
        self._probe = float("nan")

    def configure_optimizers(self) -> dict[str, Any]:
        """As in the base plan, with a decay of its own for the coupling."""
        config = super().configure_optimizers()
        coupling = getattr(self.module.interaction, "coupling", None)
        if self.lambda_weight_decay and coupling is not None:
            for group in config["optimizer"].param_groups:
                group["params"] = [p for p in group["params"] if p is not coupling]
            config["optimizer"].add_param_group({"params": [coupling], "weight_decay": self.lambda_weight_decay})
        return config

    def on_train_epoch_start(self) -> None:
        """Set the energy, the weights and the strength of the adversary for this epoch."""
        epoch = self.current_epoch
        self.module.energy_on.fill_(self.curriculum.energy_on(epoch))
        self._weights = self.curriculum.weights(epoch)
        n_epochs = max((self.trainer.max_epochs or 1) - self.curriculum.warmup_epochs, 1)
        self.module.reversal = reversal_schedule(max(epoch - self.curriculum.warmup_epochs, 0) / n_epochs)

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One episode."""
        inferred, generated, output = self.forward(batch, loss_kwargs={"weights": self._weights})
        n = output.n_obs_minibatch
        # several processes stop together, at the end of the epoch
        if self.trainer.world_size == 1 and not torch.isfinite(output.loss):
            self._raise_diverged(output.loss.item())
        for name, value in {"loss": output.loss, **output.extra_metrics}.items():
            self._totals[name] = self._totals.get(name, 0.0) + n * value.detach().item()
        self._totals["n"] = self._totals.get("n", 0.0) + n
        self._note("train", batch, inferred, generated)
        if inferred["e"] is not None:
            self._last_codes = (inferred["e"].detach(), batch[LINE_KEY])
        self.log(
            "train_loss",
            output.loss.detach(),
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=n,
            sync_dist=True,
        )
        return output.loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the prototypes, after the step."""
        if self.module.prototypes is not None and self._last_codes is not None and self._weights["prototype"]:
            codes = zip(*gathered(self.trainer, tuple(part.cpu() for part in self._last_codes)), strict=True)
            self.module.prototypes.update(*(torch.cat(part).to(self.device) for part in codes))

    def on_validation_epoch_start(self) -> None:
        """Judge the same module in every process."""
        share_buffers(self.trainer, self.module)

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Predictions for validation rows of one line."""
        inferred, generated, _ = self.forward(batch, loss_kwargs={"weights": dict.fromkeys(self._weights, 0.0)})
        self._note("validation", batch, inferred, generated)

    def _note(self, stage: str, batch: dict[str, torch.Tensor], inferred: Any, generated: Any) -> None:
        asked = ~batch[LABEL_KEY].isnan() & ~batch[SUPPORT_KEY]
        kept = {
            "logit": generated["logit"].detach()[asked],
            "label": batch[LABEL_KEY][asked],
            "line": batch[LINE_KEY][asked],
        }
        if stage == "validation":
            kept["z"] = inferred["z"][asked]
            if BLOCK_KEY in batch:
                kept["block"] = batch[BLOCK_KEY][asked]
            if inferred["e"] is not None:
                kept["e"] = inferred["e"][asked]
                first = torch.unique(batch[GROUP_KEY], return_inverse=False)
                rows = [int((batch[GROUP_KEY] == g).nonzero()[0]) for g in first]
                kept["z_e"], kept["z_e_line"] = inferred["z_e"][rows], batch[LINE_KEY][rows]
        self._seen[stage].append({key: value.cpu() for key, value in kept.items()})

    def _gather(self, stage: str) -> dict[str, torch.Tensor]:
        parts, self._seen[stage] = self._seen[stage], []
        if stage == "train":
            parts = [part for ranks in gathered(self.trainer, parts) for part in ranks]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]} if parts else {}

    def _scores(self, rows: dict[str, torch.Tensor]) -> tuple[dict[str, float], np.ndarray, np.ndarray, np.ndarray]:
        # margins may live on another device than the rows that were kept
        probability = self.module.probability(rows["logit"].to(self.device)).double().cpu().numpy()
        label, line = rows["label"].numpy(), rows["line"].numpy()
        return line_scores(probability, label, line), probability, label, line

    def on_train_epoch_end(self) -> None:
        """Check the epoch's health, then log it."""
        share_buffers(self.trainer, self.module)
        totals, self._totals = self._totals, {}
        ranks = gathered(self.trainer, totals)
        totals = {name: sum(one[name] for one in ranks) for name in totals}
        n = totals.pop("n")
        means = {name: value / n for name, value in totals.items()}
        if not (self._weights_are_finite() and np.isfinite(means["loss"])):
            self._raise_diverged(means["loss"])
        scores, *_ = self._scores(self._gather("train"))
        logged = {f"train_{name}": value for name, value in scores.items()}
        logged |= {f"{name}_train": value for name, value in means.items() if name != "loss"}
        for name, weight in self._weights.items():
            logged[f"{name}_weight"] = weight
            if f"{name}_loss" in means:
                logged[f"{name}_weighted_train"] = weight * means[f"{name}_loss"]
        interaction = self.module.interaction
        logged["temperature"] = interaction.temperature().item()
        if hasattr(interaction, "coupling"):
            couplings = interaction.coupling.detach().tolist()
            names = ["lambda"] if len(couplings) == 1 else [f"lambda_{k}" for k in range(len(couplings))]
            logged |= dict(zip(names, couplings, strict=True))
        if self.module.immax is not None:
            logged["rho_positive"] = float(self.module.immax.rho[1])
        self.log_dict({name: float(value) for name, value in logged.items()}, sync_dist=True)
        self._healthy_state, self._current_state = self._current_state, self._snapshot()

    def on_validation_epoch_end(self) -> None:
        """Log what is watched, and remember the best weights."""
        rows = self._gather("validation")
        if not rows:
            return
        scores, probability, label, line = self._scores(rows)
        logged = {f"validation_{name}": value for name, value in scores.items()}
        task = self.module.task_loss(rows["logit"].to(self.device), rows["label"].to(self.device))
        logged["validation_loss"] = task.item()
        logged |= self._codes(rows)
        self.log_dict({name: float(value) for name, value in logged.items()}, sync_dist=True)
        # weights of a warm-up epoch have no energy, and the order of pairs, all that is scored, would not miss it
        complete = self.module.interaction.kind == "none" or bool(self.module.energy_on)
        if (complete, scores["aupr"]) > (self._best_is_complete, self.best_aupr):
            self._best_is_complete = complete
            self.best_aupr, self.best_epoch = scores["aupr"], self.current_epoch
            self.thresholds = best_threshold(probability, label, line)
            self._best_state = self._snapshot()

    def _codes(self, rows: dict[str, torch.Tensor]) -> dict[str, float]:
        z = rows["z"][:: max(1, len(rows["z"]) // _MONITORED_ROWS)]
        logged = {"active_share": (z.abs() > _NONZERO).float().mean().item()}
        if self.current_epoch % self.probe_every == 0 or np.isnan(self._probe):
            block = rows["block"].numpy() if "block" in rows else None
            self._probe = line_probe(rows["z"].numpy(), rows["line"].numpy(), blocks=block)
        logged["line_probe_accuracy"] = self._probe
        if "e" not in rows:
            return logged
        e = rows["e"][:: max(1, len(rows["e"]) // _MONITORED_ROWS)]
        logged["decoupling"] = unbiased_cross_correlation(z, e).item()
        z_e = rows["z_e"].to(self.device)
        interaction = self.module.interaction
        if interaction.kind != "none":
            energy, gain = interaction.energy(z_e).mean(1).cpu(), interaction.gain(z_e).cpu()
            for code in rows["z_e_line"].unique().tolist():
                name = self.line_names[code] if code < len(self.line_names) else str(code)
                logged[f"energy_{name}"] = energy[rows["z_e_line"] == code].mean().item()
            logged["min_gain"] = gain.min().item()
        return logged

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the best weights so far.

        Parameters
        ----------
        checkpoint
            Written by Lightning.
        """
        checkpoint["best"] = {
            "state": self._best_state,
            "complete": self._best_is_complete,
            "aupr": float(self.best_aupr),
            "epoch": self.best_epoch,
            "thresholds": [float(value) for value in self.thresholds],
            "probe": float(self._probe),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the best weights so far.

        Parameters
        ----------
        checkpoint
            Read by Lightning.
        """
        best = checkpoint["best"]
        self._best_state, self._best_is_complete = best["state"], best["complete"]
        self.best_aupr, self.best_epoch, self._probe = best["aupr"], best["epoch"], best["probe"]
        self.thresholds = best["thresholds"][0], best["thresholds"][1]

    def on_train_end(self) -> None:
        """Take the best weights."""
        if self.restore_best and self._best_state:
            self.module.load_state_dict(self._best_state)

    def _raise_diverged(self, loss: float) -> None:
        self.module.load_state_dict(self._healthy_state)
        epoch = self.current_epoch
        kept = max(epoch - 1, 0)
        healthy = f"the weights after {kept} healthy epoch(s)" if kept else "the weights before training"
        msg = (
            f"Training diverged in epoch {epoch} (counting from 0): loss {loss:g}. Restored {healthy}. Likely cause: "
            f"the learning rate lr={self.lr:g} is too high or the coupling ran away; lower it "
            f"(plan_kwargs={{'lr': {self.lr / 10:g}}}), start with lambda_init=0.01, or give the coupling a decay "
            "(plan_kwargs={'lambda_weight_decay': 0.01})."
        )
        raise TrainingDivergedError(msg, epoch, kept)
