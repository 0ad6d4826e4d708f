"""The module behind :class:`scwhatif.model.MultiOmicLPM`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn
from torch.distributions import Normal
from torch.nn.functional import one_hot

from scwhatif.module._layer_scaling_mixin import LayerScalingMixin, LayerSpec
from scwhatif.nn import (
    CisSkip,
    DriverEncoder,
    GaussianEncoder,
    LinearDecoder,
    MaskedLikelihood,
    contrastive_alignment,
    gaussian_kl,
    product_of_experts,
)
from scwhatif.nn._covariate_effects import CovariateEffects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scwhatif.nn._driver_encoder import DriverEncoderKind

Reduction = Literal["mean", "sum"]
OBSERVED_KEY = "observed"

_DRIVERS_ONLY = 0.2
_INITIAL_LOG_TEMPERATURE = -2.3
_PRIOR_ROWS = 5.0


class MultiOmicVAE(LayerScalingMixin, BaseModuleClass):
    """Variational autoencoder on layers of which any may be missing; see :class:`scwhatif.model.MultiOmicLPM`.

    A batch holds the values of all layers side by side (``"X"``, anything where nothing was measured), which of them
    were measured (``"observed"``, bool) and the codes of the covariates.

    Parameters
    ----------
    layers
        The layers, parents before children.
    drivers
        Name of the layer of drivers, or ``None``.
    links
        Same-gene parents: for a target layer and an earlier one, positions as :func:`scwhatif.nn.cis_links` returns
        them.
    n_categories
        Number of categories of each covariate.
    n_latent, n_hidden, dropout_rate
        Sizes; ``n_hidden`` is the width of the encoders and of an MLP decoder.
    decoder
        ``"linear"`` or ``"mlp"`` (one hidden layer).
    driver_encoder
        ``"attention"``, ``"deepset"`` or ``"linear"``.
    beta, reduction
        Weight of the KL, against the ``"mean"`` over all features or the ``"sum"`` of the negative log-likelihood.
    align_weight
        Weight of the alignment of the latent code of the drivers with that of the other layers.
    """

    def __init__(
        self,
        layers: Sequence[LayerSpec],
        *,
        drivers: str | None = None,
        links: Mapping[tuple[str, str], torch.Tensor] | None = None,
        n_categories: Sequence[int] = (),
        n_latent: int = 16,
        n_hidden: int = 128,
        dropout_rate: float = 0.1,
        decoder: Literal["linear", "mlp"] = "linear",
        driver_encoder: DriverEncoderKind = "attention",
        beta: float = 0.01,
        reduction: Reduction = "mean",
        align_weight: float = 0.02,
    ) -> None:
        super().__init__()
        self.register_layers(layers)
        self.drivers = drivers
        self.n_latent = n_latent
        self.n_categories = list(n_categories)
        self.beta = beta
        self.reduction = reduction
        self.align_weight = align_weight

        self.input_dropout = nn.Dropout(dropout_rate)
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()
        self.likelihoods = nn.ModuleList()
        self.covariates = nn.ModuleList()
        self.skips = nn.ModuleDict()
        for layer in layers:
            if layer.name == drivers:
                encoder: nn.Module = DriverEncoder(layer.n_features, n_latent, kind=driver_encoder)
            else:
                encoder = GaussianEncoder(
                    layer.n_features, n_latent, n_hidden=n_hidden, n_layers=1, dropout_rate=dropout_rate
                )
            self.encoders.append(encoder)
            if decoder == "linear":
                self.decoders.append(LinearDecoder(n_latent, layer.n_features))
            else:
                hidden = nn.Sequential(nn.Linear(n_latent, n_hidden), nn.ReLU(), nn.Linear(n_hidden, layer.n_features))
                self.decoders.append(hidden)
            self.likelihoods.append(MaskedLikelihood(layer.n_features, layer.likelihood))
            self.covariates.append(CovariateEffects(n_categories, 0, layer.n_features))
        for (target, parent), positions in (links or {}).items():
            self.skips[self._skip_name(target, parent)] = CisSkip(positions)
        self._parents = {name: [p for t, p in (links or {}) if t == name] for name in self.names}
        if drivers is not None and align_weight:
            self.log_temperature = nn.Parameter(torch.tensor(_INITIAL_LOG_TEMPERATURE))

        # of the posterior means of the training rows, without the drivers
        self.register_buffer("latent_covariance", torch.eye(n_latent))

    @property
    def effective_beta(self) -> float:
        """Weight of the KL against the summed log-likelihood: 1 is the evidence lower bound."""
        return self.beta * (self.n_features if self.reduction == "mean" else 1)

    def is_driver_layer(self) -> torch.Tensor:
        """Which layers are drivers.

        Returns
        -------
        ``(n_layers,)``, bool.
        """
        return torch.tensor([name == self.drivers for name in self.names], device=self.location.device)

    @torch.no_grad()
    def initialize(self, x: torch.Tensor, observed: torch.Tensor, codes: torch.Tensor | None = None) -> None:
        """Learn the scale of every feature, and start from what is known in closed form.

        Covariate effects start at the shrunken means of their groups, and linear decoders at the principal axes of what
        is left, in which every layer counts the same, whatever its number of features.

        Parameters
        ----------
        x, observed, codes
            The training rows, as in a batch.
        """
        super().initialize(x, observed)
        values = self.standardize(x, observed)
        for c, n_groups in enumerate(self.n_categories):
            groups = one_hot(codes[:, c], n_groups).to(values)  # type: ignore[index]
            means = groups.T @ values / (groups.T @ observed.to(values) + _PRIOR_ROWS)
            for effects, name in zip(self.covariates, self.names, strict=True):
                effects.tables[c].copy_(means[:, self.columns[name]])  # type: ignore[index]
            values = torch.where(observed, values - groups @ means, 0.0)
        weight = torch.cat([x.new_full((layer.n_features,), layer.n_features**-0.5) for layer in self.layers])
        n_axes = min(self.n_latent, *values.shape)
        scores = torch.linalg.svd(values * weight, full_matrices=False)[0][:, :n_axes] * len(x) ** 0.5
        loadings = values.T @ scores / observed.sum(dim=0).clamp(min=1).unsqueeze(1)
        for decoder, name in zip(self.decoders, self.names, strict=True):
            if isinstance(decoder, LinearDecoder):
                decoder.weight[:, :n_axes] = loadings[self.columns[name]]

    def present(self, observed: torch.Tensor) -> torch.Tensor:
        """Which layers have any measured entry.

        Parameters
        ----------
        observed
            As in a batch.

        Returns
        -------
        ``(n_rows, n_layers)``, bool.
        """
        return torch.stack([observed[:, self.columns[name]].any(dim=1) for name in self.names], dim=1)

    def experts(self, x: torch.Tensor, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What every layer on its own says about the latent state.

        Parameters
        ----------
        x, observed
            As in a batch.

        Returns
        -------
        Means and variances, each ``(n_layers, n_rows, n_latent)``; meaningless where a layer is absent.
        """
        standardized = self.standardize(x, observed)
        means, variances = [], []
        for encoder, name in zip(self.encoders, self.names, strict=True):
            columns = self.columns[name]
            if name == self.drivers:
                mean, variance = encoder(x[:, columns], observed[:, columns])
            else:
                mean, variance = encoder(self.input_dropout(standardized[:, columns]))
            means.append(mean)
            variances.append(variance)
        return torch.stack(means), torch.stack(variances)

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **_: Any) -> dict[str, Any]:
        return {"x": tensors[REGISTRY_KEYS.X_KEY], "observed": tensors[OBSERVED_KEY]}

    @auto_move_data
    def inference(self, x: torch.Tensor, observed: torch.Tensor) -> dict[str, Any]:
        """Posteriors of several views of the same rows, each of which sees other layers.

        Parameters
        ----------
        x, observed
            As in a batch.

        Returns
        -------
        ``"qz"``: posterior without drivers; ``"seed_mean"``: mean from the drivers alone; ``"view_mean"``,
        ``"view_variance"`` and ``"z"`` (a sample): ``(n_views, n_rows, n_latent)``; ``"visible"``:
        ``(n_views, n_rows, n_layers)``.
        """
        means, variances = self.experts(x, observed)
        present = self.present(observed)
        is_driver = self.is_driver_layer()
        state_mean, state_variance = product_of_experts(means, variances, (present & ~is_driver).T)
        seed_mean, _ = product_of_experts(means, variances, (present & is_driver).T)
        visible = self._views(present)
        pairs = [product_of_experts(means, variances, view.T) for view in visible]
        view_mean, view_variance = torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])
        z = view_mean + view_variance.sqrt() * torch.randn_like(view_mean) if self.training else view_mean
        return {
            "qz": Normal(state_mean, state_variance.sqrt()),
            "seed_mean": seed_mean,
            "view_mean": view_mean,
            "view_variance": view_variance,
            "z": z,
            "visible": visible,
        }

    def _views(self, present: torch.Tensor) -> torch.Tensor:
        """In training: everything, a random subset, all but a random layer. In evaluation: all but each layer."""
        n_rows, n_layers = present.shape
        device = present.device
        if not self.training:
            hidden = ~torch.eye(n_layers, dtype=torch.bool, device=device)
            return torch.cat([present.unsqueeze(0), present & hidden[:, None, :]])
        subset = torch.rand(n_rows, n_layers, device=device) < 0.5
        only_drivers = torch.rand(n_rows, 1, device=device) < _DRIVERS_ONLY
        subset = torch.where(only_drivers, self.is_driver_layer(), subset)
        target = torch.randint(n_layers, (n_rows, 1), device=device)
        others = torch.arange(n_layers, device=device) != target
        return torch.stack([present, present & subset, present & others])

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, Any], **_: Any
    ) -> dict[str, Any]:
        return {
            "z": inference_outputs["z"],
            "visible": inference_outputs["visible"],
            "x": tensors[REGISTRY_KEYS.X_KEY],
            "observed": tensors[OBSERVED_KEY],
            "codes": tensors.get(REGISTRY_KEYS.CAT_COVS_KEY),
        }

    @auto_move_data
    def generative(
        self,
        z: torch.Tensor,
        visible: torch.Tensor,
        x: torch.Tensor,
        observed: torch.Tensor,
        codes: torch.Tensor | None = None,
    ) -> dict[str, dict[str, torch.Tensor]]:
        """Decode all layers along the flow.

        A parent enters the decoder of its children as measured where it is visible, and as decoded elsewhere.

        Parameters
        ----------
        z
            Latent states, ``(…, n_rows, n_latent)``.
        visible
            Which layers may be looked at, ``(…, n_rows, n_layers)``, bool.
        x, observed
            As in a batch; not looked at where no layer is visible.
        codes
            Covariates, ``(n_rows, n_covariates)``.

        Returns
        -------
        ``"px"``: standardised location of every layer by name, ``(…, n_rows, n_features)``; the deviation of the log
        rate or logit from that of the average row, in units of its scale, for counts and binary layers.
        """
        standardized = self.standardize(x, observed)
        decoded: dict[str, torch.Tensor] = {}
        for i, name in enumerate(self.names):
            value = self.decoders[i](z)
            if self.n_categories and codes is not None:
                value = value + self.covariates[i](list(codes.split(1, dim=1)), None)
            for parent in self._parents[name]:
                columns = self.columns[parent]
                may_see = visible[..., self.names.index(parent)].unsqueeze(-1) & observed[:, columns]
                source = torch.where(may_see, standardized[:, columns], decoded[parent])
                value = value + self.skips[self._skip_name(name, parent)](source)
            decoded[name] = value
        return {"px": decoded}

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, Any],
        generative_outputs: dict[str, Any],
        kl_weight: float = 1.0,
    ) -> LossOutput:
        """β-weighted negative ELBO averaged over the views, and the alignment.

        Parameters
        ----------
        tensors, inference_outputs, generative_outputs
            As scvi-tools passes them.
        kl_weight
            Position in the warm-up.

        Returns
        -------
        The loss; in evaluation ``objective`` scores every layer only from the view that does not see it.
        """
        x, observed = tensors[REGISTRY_KEYS.X_KEY], tensors[OBSERVED_KEY]
        decoded = generative_outputs["px"]
        per_layer = torch.stack(
            [
                -self.likelihoods[i](
                    self.location_of(i, decoded[name], x, observed), x_of, observed[:, self.columns[name]]
                ).sum(dim=-1)
                for i, (name, x_of) in enumerate(self._data_of_layers(x, observed))
            ],
            dim=-1,
        )  # views × rows × layers
        kl = gaussian_kl(inference_outputs["view_mean"], inference_outputs["view_variance"])
        if self.training:
            negative_log_likelihood = per_layer.sum(dim=-1).mean(dim=0)
            kl_rows = kl.mean(dim=0)
        else:
            hidden = torch.stack([per_layer[1 + i, :, i] for i in range(len(self.layers))])
            negative_log_likelihood = hidden.sum(dim=0)
            kl_rows = kl[0]
        unit = self.n_features if self.reduction == "mean" else 1
        alignment = self._alignment(tensors, inference_outputs)
        penalty = self.beta * kl_rows.sum(dim=-1).mean() + self.align_weight * alignment
        fit = negative_log_likelihood.mean() / unit
        return LossOutput(
            loss=fit + kl_weight * self.beta * kl_rows.sum(dim=-1).mean() + self.align_weight * alignment,
            reconstruction_loss=negative_log_likelihood,
            kl_local={"kl_z": kl_rows.sum(dim=-1)},
            extra_metrics={"objective": (fit + penalty).detach(), "kl_z": kl_rows.mean(dim=0).detach()},
            n_obs_minibatch=len(x),
        )

    def _data_of_layers(self, x: torch.Tensor, observed: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
        """Values of each layer as its likelihood takes them: standardised unless counts or binary."""
        standardized = self.standardize(x, observed)
        raw = ("nb", "bernoulli")
        return [
            (layer.name, (x if layer.likelihood in raw else standardized)[:, self.columns[layer.name]])
            for layer in self.layers
        ]

    def _alignment(self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, Any]) -> torch.Tensor:
        observed = tensors[OBSERVED_KEY]
        zero = inference_outputs["seed_mean"].new_zeros(())
        if self.drivers is None or not self.align_weight:
            return zero
        present, is_driver = self.present(observed), self.is_driver_layer()
        both = (present & is_driver).any(dim=1) & (present & ~is_driver).any(dim=1)
        if both.sum() < 2:
            # every parameter keeps a gradient, so several processes stay in step
            return zero * self.log_temperature
        columns = self.columns[self.drivers]
        called = observed[both, columns]
        genotype = torch.where(called, tensors[REGISTRY_KEYS.X_KEY][both, columns], -1.0)
        same = (genotype[:, None] == genotype[None]).all(dim=-1)
        seed, state = inference_outputs["seed_mean"][both], inference_outputs["qz"].mean[both]
        return contrastive_alignment(seed, state, same, self.log_temperature).mean()

    @staticmethod
    def _skip_name(target: str, parent: str) -> str:
        # a dot would be read as a path of submodules
        return f"{parent} to {target}".replace(".", "·")
