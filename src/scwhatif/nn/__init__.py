"""Layers and likelihoods shared by the modules."""

from scwhatif.nn._count_likelihood import (
    negative_binomial_log_likelihood,
    poisson_log_likelihood,
    zero_inflated_negative_binomial_log_likelihood,
)
from scwhatif.nn._covariate_effects import CovariateEffects
from scwhatif.nn._gaussian_encoder import GaussianEncoder
from scwhatif.nn._latent_penalty import beta_kl, capacity_kl, gaussian_kl, total_correlation
from scwhatif.nn._linear_decoder import LinearDecoder
from scwhatif.nn._rotated_normal import RotatedNormal

__all__ = [
    "CovariateEffects",
    "GaussianEncoder",
    "LinearDecoder",
    "RotatedNormal",
    "beta_kl",
    "capacity_kl",
    "gaussian_kl",
    "negative_binomial_log_likelihood",
    "poisson_log_likelihood",
    "total_correlation",
    "zero_inflated_negative_binomial_log_likelihood",
]
