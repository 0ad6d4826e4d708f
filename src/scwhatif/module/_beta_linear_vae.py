"""The module behind :class:`scwhatif.model.BetaLinearSCVI`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi import REGISTRY_KEYS
from scvi.distributions import NegativeBinomial, Normal, Poisson, ZeroInflatedNegativeBinomial
from scvi.module.base import BaseMinifiedModeModuleClass, LossOutput, auto_move_data
from torch import nn

from scwhatif.module._posterior_sampling_mixin import PosteriorSamplingMixin
from scwhatif.nn import (
    GaussianEncoder,
    LinearDecoder,
    RotatedNormal,
    beta_kl,
    capacity_kl,
    gaussian_kl,
    negative_binomial_log_likelihood,
    poisson_log_likelihood,
    total_correlation,
    zero_inflated_negative_binomial_log_likelihood,
)
from scwhatif.nn._covariate_effects import CovariateEffects

if TYPE_CHECKING:
    from collections.abc import Sequence

Likelihood = Literal["nb", "zinb", "poisson", "normal"]
Dispersion = Literal["gene", "gene-batch", "unit"]
Objective = Literal["kl", "total_correlation", "capacity"]
DecoderKind = Literal["linear", "nonnegative"]

_PRIOR_COUNTS = 5.0


class BetaLinearVAE(PosteriorSamplingMixin, BaseMinifiedModeModuleClass):
    """Variational autoencoder with a truly linear decoder; see :class:`scwhatif.model.BetaLinearSCVI`.

    Parameters
    ----------
    n_input
        Number of features.
    n_batch
        Number of batches.
    n_cats_per_cov
        Number of categories of each further categorical covariate.
    n_continuous_cov
        Number of continuous covariates.
    n_hidden, n_latent, n_layers, dropout_rate
        Sizes of the encoder.
    decoder
        ``"linear"`` or ``"nonnegative"`` loadings.
    gene_likelihood
        ``"nb"``, ``"zinb"``, ``"poisson"`` for counts, ``"normal"`` for continuous features.
    dispersion
        ``"gene"`` or ``"gene-batch"``; for ``"normal"`` also ``"unit"`` (variance fixed at 1).
    beta, objective, capacity, free_bits
        How the latent code is charged, see :mod:`scwhatif.nn`.
    encode_covariates
        Whether the encoder sees the covariates.
    use_size_factor
        Whether counts are scaled by a given size factor instead of the observed library size.
    """

    def __init__(
        self,
        n_input: int,
        *,
        n_batch: int = 1,
        n_cats_per_cov: Sequence[int] = (),
        n_continuous_cov: int = 0,
        n_hidden: int = 128,
        n_latent: int = 10,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        decoder: DecoderKind = "linear",
        gene_likelihood: Likelihood = "nb",
        dispersion: Dispersion = "gene",
        beta: float = 1.0,
        objective: Objective = "kl",
        capacity: float = 25.0,
        free_bits: float = 0.0,
        encode_covariates: bool = True,
        use_size_factor: bool = False,
    ) -> None:
        super().__init__()
        self.n_input = n_input
        self.n_batch = n_batch
        self.n_latent = n_latent
        self.gene_likelihood = gene_likelihood
        self.dispersion = dispersion
        self.beta = beta
        self.objective = objective
        self.capacity = capacity
        self.free_bits = free_bits
        self.encode_covariates = encode_covariates
        self.use_size_factor = use_size_factor
        # scvi-tools reads this name before it minifies data
        self.use_observed_lib_size = True

        categories = [n_batch, *n_cats_per_cov]
        self.z_encoder = GaussianEncoder(
            n_input,
            n_latent,
            n_hidden=n_hidden,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
            n_categories=categories if encode_covariates else (),
            n_continuous=n_continuous_cov if encode_covariates else 0,
        )
        self.decoder = LinearDecoder(n_latent, n_input, decoder)
        self.covariates = CovariateEffects(categories, n_continuous_cov, n_input)
        if gene_likelihood == "zinb":
            self.zero_decoder = LinearDecoder(n_latent, n_input)
        if gene_likelihood != "poisson" and dispersion != "unit":
            shape = (n_batch, n_input) if dispersion == "gene-batch" else (n_input,)
            # log inverse dispersion of counts, log variance of continuous features
            self.log_dispersion = nn.Parameter(torch.zeros(shape))

        self.register_buffer("initialized", torch.tensor(data=False))
        # the axes the code is read in, as columns; the encoder's heads stay in the axes they were trained in
        self.register_buffer("rotation", torch.eye(n_latent))
        # of the posterior means of the training cells, in the axes the code is read in
        self.register_buffer("latent_covariance", torch.eye(n_latent))
        if gene_likelihood == "normal":
            self.register_buffer("input_mean", torch.zeros(n_input))
            self.register_buffer("input_std", torch.ones(n_input))

    @property
    def is_count_model(self) -> bool:
        """Whether the likelihood is one of counts."""
        return self.gene_likelihood != "normal"

    @torch.no_grad()
    def initialize(
        self, total: torch.Tensor, total_square: torch.Tensor, exposure: torch.Tensor, n_obs: torch.Tensor
    ) -> None:
        """Start bias and batch effects (and for continuous features the scaling) at the training data's moments.

        The batch effects then need not be learned step by step while the latent space picks them up instead.

        Parameters
        ----------
        total, total_square
            Sum and sum of squares of each feature over the training cells of each batch, ``(n_batch, n_input)``.
        exposure
            Sum of library sizes or size factors, ``(n_batch, 1)``.
        n_obs
            Number of training cells, ``(n_batch, 1)``.
        """
        if self.is_count_model:
            overall = total.sum(0).clamp(min=0.5) / exposure.sum()
            bias = overall.log()
            # shrunk towards the overall profile, as if every batch had seen a few counts of each gene in it
            per_batch = (total + _PRIOR_COUNTS * overall / overall.mean()).log() - exposure.clamp(min=1e-12).log()
        else:
            bias = total.sum(0) / n_obs.sum()
            var = (total_square.sum(0) / n_obs.sum() - bias.square()).clamp(min=0)
            # a constant feature carries nothing: leave its scale alone instead of dividing by zero
            std = torch.where(var > 0, var, torch.ones_like(var)).sqrt()
            per_batch = total / n_obs.clamp(min=1)
            self.input_mean.copy_(bias)
            self.input_std.copy_(std)
            if self.dispersion != "unit":
                self.log_dispersion.copy_((2 * std.log()).expand_as(self.log_dispersion))
        self.decoder.bias.copy_(bias)
        self.covariates.tables[0].copy_(torch.where(n_obs > 0, per_batch - bias, torch.zeros_like(per_batch)))
        self.initialized.fill_(value=True)

    @torch.no_grad()
    def effective_loadings(self) -> torch.Tensor:
        """Loadings, centred per dimension where normalisation over genes makes a constant meaningless.

        Returns
        -------
        ``(n_input, n_latent)``.
        """
        loadings = self.decoder.loadings
        normalised = self.is_count_model and not self.use_size_factor
        return loadings - loadings.mean(0) if normalised else loadings.clone()

    def explained_variance(self) -> torch.Tensor:
        """Variance of the log-rate, summed over features, that each latent dimension accounts for.

        Returns
        -------
        ``(n_latent,)``.
        """
        return self.latent_covariance.diagonal() * self.effective_loadings().square().sum(0)

    def canonicalize(self) -> torch.Tensor:
        """Order dimensions by explained variance and make their largest loadings positive.

        Returns
        -------
        The order: new dimension j was dimension ``order[j]``.
        """
        order = torch.argsort(self.explained_variance(), descending=True, stable=True)
        skew = self.effective_loadings()[:, order].pow(3).sum(0)
        sign = torch.where((skew < 0) & (self.decoder.constraint == "linear"), -1.0, 1.0)
        self.rotate(torch.eye(self.n_latent, device=order.device)[:, order] * sign)
        return order

    def freeze_for_query(self, n_reference: Sequence[int]) -> None:
        """Freeze everything but the effects of categories beyond the reference's.

        Parameters
        ----------
        n_reference
            Number of reference categories of the batch and of each further categorical covariate.
        """
        for parameter in self.parameters():
            parameter.requires_grad = False
        tables = [*zip(self.covariates.tables, n_reference, strict=True)]
        if self.encode_covariates:
            tables += zip(self.z_encoder.covariates.tables, n_reference, strict=True)
        if self.dispersion == "gene-batch" and self.gene_likelihood != "poisson":
            tables.append((self.log_dispersion, n_reference[0]))
        for table, n_frozen in tables:
            table.requires_grad = True
            table.register_hook(partial(_without_first_rows, n_frozen))

    def on_load(self, model: Any, **kwargs: Any) -> None:
        """Restore the freezing of a saved query model (called by scvi-tools)."""
        if model.reference_categories_ is not None:
            self.freeze_for_query(model.reference_categories_)

    @torch.no_grad()
    def rotate(self, rotation: torch.Tensor) -> None:
        """Read the latent code in other axes, leaving the model's distribution unchanged.

        Parameters
        ----------
        rotation
            Orthogonal ``(n_latent, n_latent)``; its columns are the new axes in terms of the present ones. With
            non-negative loadings it must be a permutation.
        """
        for decoder in (self.decoder, getattr(self, "zero_decoder", None)):
            if decoder is not None:
                decoder.weight.copy_(decoder.weight @ rotation)
        self.rotation.copy_(self.rotation @ rotation)
        self.latent_covariance.copy_(rotation.T @ self.latent_covariance @ rotation)

    def transform_input(self, x: torch.Tensor) -> torch.Tensor:
        """What the encoder sees: ``log1p`` of counts, standardised continuous features.

        Parameters
        ----------
        x
            ``(..., n_input)``.

        Returns
        -------
        Same shape.
        """
        return torch.log1p(x) if self.is_count_model else (x - self.input_mean) / self.input_std

    def _get_inference_input(
        self, tensors: dict[str, torch.Tensor], *, full_forward_pass: bool = False
    ) -> dict[str, torch.Tensor | None]:
        if not full_forward_pass and self.minified_data_type is not None:
            return {
                "qzm": tensors[REGISTRY_KEYS.LATENT_QZM_KEY],
                "qzv": tensors[REGISTRY_KEYS.LATENT_QZV_KEY],
                "observed_lib_size": tensors[REGISTRY_KEYS.OBSERVED_LIB_SIZE],
            }
        return {"x": tensors[REGISTRY_KEYS.X_KEY], **self._covariate_tensors(tensors)}

    @staticmethod
    def _covariate_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | None]:
        return {
            "batch_index": tensors[REGISTRY_KEYS.BATCH_KEY],
            "cat_covs": tensors.get(REGISTRY_KEYS.CAT_COVS_KEY),
            "cont_covs": tensors.get(REGISTRY_KEYS.CONT_COVS_KEY),
        }

    @auto_move_data
    def _regular_inference(
        self,
        x: torch.Tensor,
        batch_index: torch.Tensor,
        cat_covs: torch.Tensor | None = None,
        cont_covs: torch.Tensor | None = None,
        n_samples: int = 1,
    ) -> dict[str, Any]:
        categorical = _categorical(batch_index, cat_covs) if self.encode_covariates else ()
        continuous = cont_covs if self.encode_covariates else None
        mean, var = self.z_encoder(self.transform_input(x), categorical, continuous)
        library = x.sum(-1, keepdim=True).log() if self.is_count_model else torch.zeros_like(mean[:, :1])
        return _posterior(RotatedNormal.from_axes(mean, var, self.rotation), library, n_samples) | {"axes": (mean, var)}

    @auto_move_data
    def _cached_inference(
        self, qzm: torch.Tensor, qzv: torch.Tensor, observed_lib_size: torch.Tensor, n_samples: int = 1
    ) -> dict[str, Any]:
        library = observed_lib_size.log() if self.is_count_model else torch.zeros_like(qzm[:, :1])
        return _posterior(RotatedNormal(qzm, qzv.sqrt()), library, n_samples)

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, Any]
    ) -> dict[str, torch.Tensor | None]:
        return {
            "z": inference_outputs["z"],
            "library": inference_outputs["library"],
            "size_factor": tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY),
            **self._covariate_tensors(tensors),
        }

    @auto_move_data
    def generative(
        self,
        z: torch.Tensor,
        library: torch.Tensor,
        batch_index: torch.Tensor,
        cat_covs: torch.Tensor | None = None,
        cont_covs: torch.Tensor | None = None,
        size_factor: torch.Tensor | None = None,
        transform_batch: int | None = None,
    ) -> dict[str, Any]:
        """Decode latent codes.

        Parameters
        ----------
        z
            ``(n_cells, n_latent)`` or ``(n_samples, n_cells, n_latent)``.
        library
            Log library size, ``(n_cells, 1)`` with the leading dimensions of ``z``.
        batch_index
            ``(n_cells, 1)``.
        cat_covs, cont_covs
            Further covariates or ``None``.
        size_factor
            ``(n_cells, 1)``, used instead of ``library`` if the module was built so.
        transform_batch
            Decode every cell as if from this batch.

        Returns
        -------
        ``px`` and ``pz`` distributions, and what the exact likelihoods need: ``log_rate`` and ``zero_logits``.
        """
        if transform_batch is not None:
            batch_index = torch.full_like(batch_index, transform_batch)
        effect = self.covariates(_categorical(batch_index, cat_covs), cont_covs)
        log_rate = self.decoder(z) + effect
        dispersion = self._dispersion(batch_index)
        zero_logits = None
        px: torch.distributions.Distribution
        if not self.is_count_model:
            std = torch.ones_like(log_rate) if dispersion is None else dispersion.sqrt().expand_as(log_rate)
            px = Normal(log_rate, std, normal_mu=log_rate, validate_args=False)
        else:
            if self.use_size_factor:
                log_scale = log_rate
                log_rate = log_scale + size_factor.log()  # type: ignore[union-attr]
            else:
                log_scale = torch.log_softmax(log_rate, dim=-1)
                log_rate = log_scale + library
            mu = log_rate.exp()
            # only readouts look at the scale
            scale = None if self.training else log_scale.exp()
            if self.gene_likelihood == "poisson":
                px = Poisson(mu, scale=scale, validate_args=False)
            elif self.gene_likelihood == "nb":
                px = NegativeBinomial(mu=mu, theta=dispersion, scale=scale, validate_args=False)
            else:
                zero_logits = self.zero_decoder(z)
                px = ZeroInflatedNegativeBinomial(
                    mu=mu, theta=dispersion, zi_logits=zero_logits, scale=scale, validate_args=False
                )
        pz = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z), validate_args=False)
        return {"px": px, "pl": None, "pz": pz, "log_rate": log_rate, "theta": dispersion, "zero_logits": zero_logits}

    def _dispersion(self, batch_index: torch.Tensor) -> torch.Tensor | None:
        if self.gene_likelihood == "poisson" or self.dispersion == "unit":
            return None
        log_dispersion: torch.Tensor = self.log_dispersion
        if self.dispersion == "gene-batch":
            log_dispersion = torch.nn.functional.embedding(batch_index.squeeze(-1).long(), log_dispersion)
        return log_dispersion.exp()

    def log_likelihood(self, x: torch.Tensor, generative_outputs: dict[str, Any]) -> torch.Tensor:
        """Log-likelihood of each cell summed over features, exact and sparse for counts.

        Parameters
        ----------
        x
            Features, ``(n_cells, n_input)``.
        generative_outputs
            What :meth:`generative` returned.

        Returns
        -------
        ``(n_cells,)``, or ``(n_samples, n_cells)``.
        """
        log_rate, theta = generative_outputs["log_rate"], generative_outputs["theta"]
        if self.gene_likelihood == "nb":
            return negative_binomial_log_likelihood(x, log_rate, theta)
        if self.gene_likelihood == "zinb":
            return zero_inflated_negative_binomial_log_likelihood(x, log_rate, theta, generative_outputs["zero_logits"])
        if self.gene_likelihood == "poisson":
            return poisson_log_likelihood(x, log_rate)
        return generative_outputs["px"].log_prob(x).sum(-1)

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, Any],
        generative_outputs: dict[str, Any],
        kl_weight: float = 1.0,
        n_obs: int = 1,
    ) -> LossOutput:
        """The objective on a minibatch.

        Parameters
        ----------
        tensors, inference_outputs, generative_outputs
            As scvi-tools passes them.
        kl_weight
            Position in the warm-up, 0 to 1.
        n_obs
            Number of training cells (total correlation only).

        Returns
        -------
        Loss output whose ``reconstruction_loss`` and ``kl_local`` are unweighted, so that they add up to the true
        negative ELBO; ``extra_metrics`` holds the ``objective`` at full weight and the KL per dimension, ``kl_z``.
        """
        reconstruction = -self.log_likelihood(tensors[REGISTRY_KEYS.X_KEY], generative_outputs)
        # in the axes of training the posterior is factorised, so the KL adds up over them
        mean, var = inference_outputs["axes"]
        kl = gaussian_kl(mean, var)
        if self.objective == "kl":
            penalty = beta_kl(kl, beta=self.beta, free_bits=self.free_bits)
            weighted = kl_weight * penalty
        elif self.objective == "capacity":
            penalty = capacity_kl(kl, beta=self.beta, capacity=self.capacity)
            weighted = capacity_kl(kl, beta=self.beta, capacity=kl_weight * self.capacity)
        else:
            # KL = index-code information + total correlation + dimension-wise KL: charge the middle term beta
            excess = total_correlation(inference_outputs["z"] @ self.rotation.T, mean, var, n_obs)
            penalty = beta_kl(kl, beta=1.0, free_bits=self.free_bits) + (self.beta - 1) * excess
            weighted = kl_weight * penalty
        qz = inference_outputs["qz"]
        return LossOutput(
            loss=reconstruction.mean() + weighted,
            reconstruction_loss=reconstruction,
            kl_local=kl.sum(-1),
            extra_metrics={
                "objective": (reconstruction.mean() + penalty).detach(),
                "kl_z": gaussian_kl(qz.mean, qz.variance).mean(0).detach(),
            },
        )


def _categorical(batch_index: torch.Tensor, cat_covs: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    return (batch_index,) if cat_covs is None else (batch_index, *torch.split(cat_covs, 1, dim=1))


def _without_first_rows(n: int, gradient: torch.Tensor) -> torch.Tensor:
    gradient = gradient.clone()
    gradient[:n] = 0
    return gradient


def _posterior(qz: RotatedNormal, library: torch.Tensor, n_samples: int) -> dict[str, Any]:
    z = qz.rsample() if n_samples == 1 else qz.sample((n_samples,))
    if n_samples > 1:
        library = library.expand(n_samples, *library.shape)
    return {"z": z, "qz": qz, "ql": None, "library": library}
