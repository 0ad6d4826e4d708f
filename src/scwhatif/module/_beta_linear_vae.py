"""The module behind :class:`scwhatif.model.BetaLinearSCVI`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi import REGISTRY_KEYS
from scvi.distributions import NegativeBinomial, Normal, Poisson, ZeroInflatedNegativeBinomial
from scvi.module.base import BaseMinifiedModeModuleClass, LossOutput, auto_move_data
from torch import nn

from scwhatif.module._latent_axes_mixin import LatentAxesMixin
from scwhatif.module._moment_start_mixin import MomentStartMixin
from scwhatif.module._posterior_sampling_mixin import PosteriorSamplingMixin
from scwhatif.module._query_freezing_mixin import QueryFreezingMixin
from scwhatif.nn import (
    GaussianEncoder,
    LinearDecoder,
    RotatedNormal,
    beta_kl,
    capacity_kl,
    gaussian_kl,
    linear_count_log_likelihood,
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


class BetaLinearVAE(
    LatentAxesMixin, MomentStartMixin, QueryFreezingMixin, PosteriorSamplingMixin, BaseMinifiedModeModuleClass
):
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
        return torch.log1p(x) if self.is_count_model else (_dense(x) - self.input_mean) / self.input_std

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
        library = _dense(x.sum(-1, keepdim=True)).log() if self.is_count_model else torch.zeros_like(mean[:, :1])
        return _posterior(RotatedNormal.from_axes(mean, var, self.rotation), library, n_samples) | {"axes": (mean, var)}

    @auto_move_data
    def _cached_inference(
        self, qzm: torch.Tensor, qzv: torch.Tensor, observed_lib_size: torch.Tensor, n_samples: int = 1
    ) -> dict[str, Any]:
        library = observed_lib_size.log() if self.is_count_model else torch.zeros_like(qzm[:, :1])
        return _posterior(RotatedNormal(qzm, qzv.sqrt()), library, n_samples)

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "z": inference_outputs["z"],
            "library": inference_outputs["library"],
            "size_factor": tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY),
            "fused": self._is_fused(inference_outputs["z"]),
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
        *,
        fused: bool = False,
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
        fused
            Whether to leave decoding to the likelihood, which then does both in one go.

        Returns
        -------
        ``px`` and ``pz`` distributions, and what the exact likelihoods need: ``log_rate`` and ``zero_logits``.
        If ``fused``, ``px`` is ``None``, and ``"fused"`` holds the arguments of
        :func:`scwhatif.nn.linear_count_log_likelihood`.
        """
        if transform_batch is not None:
            batch_index = torch.full_like(batch_index, transform_batch)
        pz = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z), validate_args=False)
        if fused:
            constant, design, effects = self.covariates.linear_form(_categorical(batch_index, cat_covs), cont_covs)
            inputs = {
                "z": z,
                "weight": self.decoder.loadings,
                "bias": self.decoder.bias + constant,
                "log_scale": size_factor.log() if self.use_size_factor else library,  # type: ignore[union-attr]
                "design": design,
                "effects": effects,
                "theta": self._dispersion(batch_index),
                "normalize": not self.use_size_factor,
            }
            return {"px": None, "pl": None, "pz": pz, "fused": inputs}
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
        return {"px": px, "pl": None, "pz": pz, "log_rate": log_rate, "theta": dispersion, "zero_logits": zero_logits}

    def _is_fused(self, z: torch.Tensor) -> bool:
        # all else decodes first: other likelihoods and devices, and evaluation
        per_gene = self.gene_likelihood == "poisson" or (self.gene_likelihood == "nb" and self.dispersion == "gene")
        return self.training and per_gene and z.dim() == 2 and z.device.type == "cpu"

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
            Features, ``(n_cells, n_input)``, dense or CSR.
        generative_outputs
            What :meth:`generative` returned, not fused.

        Returns
        -------
        ``(n_cells,)``, or ``(n_samples, n_cells)``.
        """
        x = _dense(x)
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
        x = tensors[REGISTRY_KEYS.X_KEY]
        if "fused" in generative_outputs:
            total, log_likelihood = linear_count_log_likelihood(x, **generative_outputs["fused"])
        else:
            log_likelihood = self.log_likelihood(x, generative_outputs)
            total = log_likelihood.sum()
        reconstruction, fit = -log_likelihood, -total / len(x)
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
            loss=fit + weighted,
            reconstruction_loss=reconstruction,
            kl_local=kl.sum(-1),
            extra_metrics={
                "objective": (fit + penalty).detach(),
                "kl_z": gaussian_kl(qz.mean, qz.variance).mean(0).detach(),
            },
        )


def _categorical(batch_index: torch.Tensor, cat_covs: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    return (batch_index,) if cat_covs is None else (batch_index, *torch.split(cat_covs, 1, dim=1))


def _dense(x: torch.Tensor) -> torch.Tensor:
    return x.to_dense() if x.layout is torch.sparse_csr else x


def _posterior(qz: RotatedNormal, library: torch.Tensor, n_samples: int) -> dict[str, Any]:
    z = qz.rsample() if n_samples == 1 else qz.sample((n_samples,))
    if n_samples > 1:
        library = library.expand(n_samples, *library.shape)
    return {"z": z, "qz": qz, "ql": None, "library": library}
