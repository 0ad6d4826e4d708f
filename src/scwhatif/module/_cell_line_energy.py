"""The module behind :class:`scwhatif.model.CellLineEnergyModel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn

from scwhatif.module._energy_losses_mixin import AUXILIARY, EnergyLossesMixin
from scwhatif.nn import (
    EnergyInteraction,
    ImmaxLoss,
    NumericalEmbedding,
    PairEncoder,
    Prototypes,
    SequenceEncoder,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scwhatif.nn._energy_interaction import Interaction

Backbone = Literal["mlp", "cnn", "precomputed"]

FEATURES_KEY, OBSERVED_KEY = "features", "observed"
ENVIRONMENT_KEY, ENVIRONMENT_OBSERVED_KEY = "environment", "environment_observed"
SEQUENCE_KEY = "sequence"
LINE_KEY, LABEL_KEY = "cell_line", "label"
GROUP_KEY, SUPPORT_KEY = "group", "support"

# standardised raw features beyond this say "far away" and nothing more
_FAR = 8.0


class CellLineEnergyModule(EnergyLossesMixin, BaseModuleClass):
    r"""Score of pairs, energy of cell lines, and their interaction; see :class:`scwhatif.model.CellLineEnergyModel`.

    A batch holds rows of several cell lines. ``"group"`` says which rows belong together, and the rows marked in
    ``"support"`` describe the environment of their group: :math:`z_E` is the mean of their codes.

    Parameters
    ----------
    n_features
        Features of the score, or dimensions of the precomputed embedding.
    n_environment_features
        Features from which the environment is read; 0 reads it from the code of the pair, without gradient.
    n_lines
        Cell lines known to the adversary and the prototypes.
    backbone
        ``"mlp"`` on features, ``"cnn"`` on sequence, ``"precomputed"``: a linear layer on an embedding.
    interaction, n_channels, lambda_init, t_init, temperature, temperature_range
        As in :class:`scwhatif.nn.EnergyInteraction`.
    n_latent, n_environment
        Dimensions of :math:`z_I` and :math:`z_E`.
    n_hidden, n_layers, dropout_rate, embedding, n_bins
        As in :class:`scwhatif.nn.PairEncoder`.
    loss
        ``"bce"``, or the ``mode`` of :class:`scwhatif.nn.ImmaxLoss`: ``"theory"``, ``"adaptive"``, ``"fixed"``.
    rho_positive
        Margin of the positives with ``loss="fixed"``.
    weights
        Weight of each auxiliary loss; those missing are 0.
    decouple
        What ``"corr"`` is the weight of: ``"correlation"`` (:func:`scwhatif.nn.cross_correlation`) or ``"hsic"``
        (:func:`scwhatif.nn.hsic`).
    sparsity
        ``"l1"`` or ``"l2"``.
    t_l2
        Weight of the squared distance of the temperature from 1.
    contrast_temperature, contrast_within_weight
        Temperature of the contrast of lines, and weight of its second level (same line and same label).
    adversary_given_label
        Whether the adversary also sees the label, so that lines may differ in their share of positives.
    support_in_loss
        Whether support rows that have a label enter the loss of the task too.
    joint
        Whether the score is trained through the energy. Otherwise it is trained as if there were none, and the energy
        on top of it. ``"channels"`` and ``"none"`` are always joint.
    enhancer_length, promoter_length
        As in :class:`scwhatif.nn.SequenceEncoder`.
    """

    feature_mean: torch.Tensor
    feature_scale: torch.Tensor
    energy_on: torch.Tensor

    def __init__(
        self,
        n_features: int,
        n_environment_features: int,
        n_lines: int,
        *,
        backbone: Backbone = "mlp",
        interaction: Interaction = "scalar",
        n_channels: int = 8,
        lambda_init: float = 0.1,
        t_init: float | None = None,
        temperature: Literal["scalar", "line"] = "scalar",
        temperature_range: tuple[float, float] | None = None,
        n_latent: int = 128,
        n_environment: int = 16,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.3,
        embedding: Literal["piecewise", "periodic", "none"] = "piecewise",
        n_bins: int = 16,
        loss: Literal["bce", "theory", "adaptive", "fixed"] = "bce",
        rho_positive: float = 1.0,
        weights: Mapping[str, float] | None = None,
        decouple: Literal["correlation", "hsic"] = "correlation",
        sparsity: Literal["l1", "l2"] = "l1",
        t_l2: float = 0.0,
        contrast_temperature: float = 0.1,
        contrast_within_weight: float = 0.0,
        adversary_given_label: bool = False,
        support_in_loss: bool = False,
        joint: bool = True,
        enhancer_length: int | None = None,
        promoter_length: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.weights = {name: float((weights or {}).get(name, 0.0)) for name in AUXILIARY}
        self.decouple: Literal["correlation", "hsic"] = decouple
        self.sparsity: Literal["l1", "l2"] = sparsity
        self.t_l2 = t_l2
        self.contrast_temperature, self.contrast_within_weight = contrast_temperature, contrast_within_weight
        self.adversary_given_label = adversary_given_label
        self.support_in_loss = support_in_loss
        self.joint = joint or interaction in ("channels", "none")
        self.loss_kind = loss
        self.n_lines = n_lines
        # set by the training plan: strength of the reversed gradient
        self.reversal = 1.0

        if backbone == "mlp":
            self.encoder: nn.Module = PairEncoder(
                n_features,
                n_latent,
                n_hidden=n_hidden,
                n_layers=n_layers,
                dropout_rate=dropout_rate,
                embedding=embedding,
                n_bins=n_bins,
            )
        elif backbone == "cnn":
            self.encoder = SequenceEncoder(
                n_latent,
                enhancer_length=enhancer_length,
                promoter_length=promoter_length,
                dropout_rate=dropout_rate,
            )
        else:
            self.encoder = nn.Sequential(
                nn.LayerNorm(n_features), nn.Dropout(dropout_rate), nn.Linear(n_features, n_latent), nn.ReLU()
            )
        self.interaction = EnergyInteraction(
            interaction,
            n_environment=n_environment,
            n_channels=n_channels,
            lambda_init=lambda_init,
            t_init=t_init,
            temperature=temperature,
            temperature_range=temperature_range,
        )
        self.score_head = nn.Linear(n_latent, self.interaction.n_channels)
        self.dropout = nn.Dropout(dropout_rate)

        self.uses_environment = interaction != "none" or any(
            self.weights[name] for name in ("corr", "contrast", "prototype")
        )
        self.reads_hidden = n_environment_features == 0
        if self.uses_environment:
            width = n_latent if self.reads_hidden else 2 * n_environment_features
            self.environment_encoder = nn.Sequential(
                nn.Linear(width, n_hidden // 2), nn.ReLU(), nn.Linear(n_hidden // 2, n_environment)
            )
        self.n_environment = n_environment
        if self.weights["adversary"]:
            self.adversary = nn.Sequential(
                nn.Linear(n_latent + 2 * adversary_given_label, 64), nn.ReLU(), nn.Linear(64, n_lines)
            )
        self.prototypes = Prototypes(n_lines, n_environment) if self.weights["prototype"] else None
        self.immax = None if loss == "bce" else ImmaxLoss(loss, rho_positive=rho_positive)
        self.register_buffer("feature_mean", torch.zeros(n_environment_features))
        self.register_buffer("feature_scale", torch.ones(n_environment_features))
        self.register_buffer("energy_on", torch.tensor(True))  # noqa: FBT003
        # mean and sd of the score over the training rows: they fix scale and origin of the energy
        self.register_buffer("score_mean", torch.zeros(self.interaction.n_channels))
        self.register_buffer("score_sd", torch.ones(self.interaction.n_channels))

    @torch.no_grad()
    def initialize(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take scales, bins and class counts from the training rows.

        Parameters
        ----------
        tensors
            All training rows, as in a batch.
        """
        if not self.reads_hidden:
            values, observed = tensors[ENVIRONMENT_KEY], tensors[ENVIRONMENT_OBSERVED_KEY]
            count = observed.sum(0).clamp(min=1)
            mean = values.masked_fill(~observed, 0.0).sum(0) / count
            variance = (values - mean).masked_fill(~observed, 0.0).square().sum(0) / count
            self.feature_mean.copy_(mean)
            self.feature_scale.copy_(torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance)))
        for part in self.encoder.modules():
            if isinstance(part, NumericalEmbedding):
                part.initialize(tensors[FEATURES_KEY], tensors[OBSERVED_KEY])
        label = tensors[LABEL_KEY]
        n_positive, n_negative = int((label == 1).sum()), int((label == 0).sum())
        if self.immax is not None:
            self.immax.set_counts(n_negative, n_positive)
        # starts at the prevalence, spread over the channels
        share = max(n_positive, 1) / max(n_positive + n_negative, 2)
        prior = torch.logit(torch.tensor(min(max(share, 1e-3), 1 - 1e-3)))
        self.score_head.bias.fill_(float(prior) / len(self.score_head.bias))

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, Any]:
        names = (
            FEATURES_KEY,
            OBSERVED_KEY,
            ENVIRONMENT_KEY,
            ENVIRONMENT_OBSERVED_KEY,
            SEQUENCE_KEY,
            GROUP_KEY,
            SUPPORT_KEY,
        )
        return {name: tensors.get(name) for name in names}

    @auto_move_data
    def inference(
        self,
        features: torch.Tensor | None = None,
        observed: torch.Tensor | None = None,
        environment: torch.Tensor | None = None,
        environment_observed: torch.Tensor | None = None,
        sequence: torch.Tensor | None = None,
        group: torch.Tensor | None = None,
        support: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor | None]:
        """Code of every pair, environment code of every row, and mean of the latter over the support of the group.

        Parameters
        ----------
        features, observed, environment, environment_observed, sequence
            Inputs of the score and of the environment, and which of them were measured; those not read may be missing.
        group, support
            Group of every row, and which rows are support; without them every row is its own environment.

        Returns
        -------
        ``"z"``, ``"e"`` and ``"z_e"``; the latter two are ``None`` where no environment is read.
        """
        if self.backbone == "cnn":
            z = self.encoder(sequence)
        elif self.backbone == "mlp":
            z = self.encoder(features, observed)
        else:
            z = self.encoder(features)
        if not self.uses_environment:
            return {"z": z, "e": None, "z_e": None}
        e = self.encode_environment(z, environment, environment_observed)
        if group is None or support is None:
            return {"z": z, "e": e, "z_e": e}
        return {"z": z, "e": e, "z_e": self.support_mean(e, group, support)[group]}

    def encode_environment(
        self, z: torch.Tensor, values: torch.Tensor | None = None, observed: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Environment code of rows.

        Parameters
        ----------
        z
            Codes of the pairs, read (without gradient) where there are no features of the environment.
        values, observed
            Raw features of the environment, and which of them were measured.

        Returns
        -------
        ``(n_rows, n_environment)``.
        """
        if self.reads_hidden or values is None or observed is None:
            return self.environment_encoder(z.detach())
        scaled = ((values - self.feature_mean) / self.feature_scale).clamp(-_FAR, _FAR).masked_fill(~observed, 0.0)
        return self.environment_encoder(torch.cat([scaled, observed.to(scaled)], dim=-1))

    @staticmethod
    def support_mean(e: torch.Tensor, group: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
        """Mean environment code of the support rows of every group.

        Parameters
        ----------
        e
            Environment codes, ``(n_rows, n_environment)``.
        group
            Group of every row, 0, 1 …
        support
            Which rows are support, bool.

        Returns
        -------
        ``(n_groups, n_environment)``.
        """
        n_groups = int(group.max()) + 1
        weight = support.to(e)
        sums = e.new_zeros(n_groups, e.shape[1]).index_add(0, group, e * weight.unsqueeze(1))
        return sums / e.new_zeros(n_groups).index_add(0, group, weight).clamp(min=1).unsqueeze(1)

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, Any], **kwargs: Any
    ) -> dict[str, Any]:
        return {"z": inference_outputs["z"], "z_e": inference_outputs["z_e"]}

    @auto_move_data
    def generative(self, z: torch.Tensor, z_e: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Score and logit of every pair.

        Parameters
        ----------
        z, z_e
            Code of the pair, and environment code of its line.

        Returns
        -------
        ``"score"`` ``(n_rows, n_channels)`` and ``"logit"`` ``(n_rows,)``.
        """
        score = self.score_head(self.dropout(z))
        on = self.interaction.kind != "none" and bool(self.energy_on)
        taken = score if self.joint else score.detach()
        return {"score": score, "logit": self.interaction(taken, z_e if on else None)}

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, Any],
        generative_outputs: dict[str, Any],
        weights: Mapping[str, float] | None = None,
    ) -> LossOutput:
        """Loss of the task on the query, and the auxiliary losses.

        Parameters
        ----------
        tensors, inference_outputs, generative_outputs
            The batch, and what was made of it.
        weights
            Weights of the auxiliary losses; by default those given to the module.

        Returns
        -------
        The loss, with every part unweighted in ``extra_metrics``.
        """
        weights = self.weights if weights is None else weights
        label, logit = tensors[LABEL_KEY], generative_outputs["logit"]
        asked = ~label.isnan()
        if SUPPORT_KEY in tensors and not self.support_in_loss:
            asked &= ~tensors[SUPPORT_KEY]
        task = self.task_loss(logit[asked], label[asked])
        if self.immax is not None and self.training:
            self.immax.update(logit[asked], label[asked], inference_outputs["z"][asked])
        parts = self.auxiliary_losses(
            inference_outputs["z"],
            inference_outputs["e"],
            tensors[LINE_KEY],
            label,
            tensors.get(SUPPORT_KEY, torch.zeros_like(label, dtype=torch.bool)),
            weights=weights,
        )
        total = task
        if not self.joint:
            total = total + self.task_loss(generative_outputs["score"].sum(-1)[asked], label[asked])
        total = total + sum((parts[name] * (weights[name] if name != "adversary" else 1.0) for name in parts), 0.0)
        if self.t_l2:
            parts["temperature"] = (self.interaction.temperature(inference_outputs["z_e"]) - 1).square().mean()
            total = total + self.t_l2 * parts["temperature"]
        metrics = {f"{name}_loss": value.detach() for name, value in parts.items()}
        return LossOutput(
            loss=total, n_obs_minibatch=max(int(asked.sum()), 1), extra_metrics={"task_loss": task.detach(), **metrics}
        )
