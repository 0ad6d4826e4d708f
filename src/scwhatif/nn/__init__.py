"""Layers and likelihoods shared by the modules."""

from scwhatif.nn._cis_links import CisSkip, cis_links
from scwhatif.nn._combine_predictions import PredictionMoments, combination_weights, prediction_moments
from scwhatif.nn._contrastive_alignment import contrastive_alignment
from scwhatif.nn._count_likelihood import (
    negative_binomial_log_likelihood,
    poisson_log_likelihood,
    zero_inflated_negative_binomial_log_likelihood,
)
from scwhatif.nn._covariate_effects import CovariateEffects
from scwhatif.nn._driver_encoder import DriverEncoder
from scwhatif.nn._gaussian_encoder import GaussianEncoder
from scwhatif.nn._latent_penalty import beta_kl, capacity_kl, gaussian_kl, total_correlation
from scwhatif.nn._layer_evidence import LayerEvidence, fit_layer_evidence
from scwhatif.nn._linear_decoder import LinearDecoder
from scwhatif.nn._masked_likelihood import MaskedLikelihood
from scwhatif.nn._product_of_experts import product_of_experts
from scwhatif.nn._ridge_loo import CisFit, RidgeFit, cis_ridge_loo, ridge_loo
from scwhatif.nn._rotated_normal import RotatedNormal

__all__ = [
    "CisFit",
    "CisSkip",
    "CovariateEffects",
    "DriverEncoder",
    "GaussianEncoder",
    "LayerEvidence",
    "LinearDecoder",
    "MaskedLikelihood",
    "PredictionMoments",
    "RidgeFit",
    "RotatedNormal",
    "beta_kl",
    "capacity_kl",
    "cis_links",
    "cis_ridge_loo",
    "combination_weights",
    "contrastive_alignment",
    "fit_layer_evidence",
    "gaussian_kl",
    "negative_binomial_log_likelihood",
    "poisson_log_likelihood",
    "prediction_moments",
    "product_of_experts",
    "ridge_loo",
    "total_correlation",
    "zero_inflated_negative_binomial_log_likelihood",
]
