"""Layers and likelihoods shared by the modules."""

from scwhatif.nn._cell_line_contrast import cell_line_contrast
from scwhatif.nn._cis_links import CisSkip, cis_links
from scwhatif.nn._combine_predictions import PredictionMoments, combination_weights, prediction_moments
from scwhatif.nn._contrastive_alignment import contrastive_alignment
from scwhatif.nn._count_likelihood import (
    negative_binomial_log_likelihood,
    poisson_log_likelihood,
    zero_inflated_negative_binomial_log_likelihood,
)
from scwhatif.nn._covariate_effects import CovariateEffects
from scwhatif.nn._cross_correlation import cross_correlation, unbiased_cross_correlation
from scwhatif.nn._driver_encoder import DriverEncoder
from scwhatif.nn._energy_interaction import EnergyInteraction
from scwhatif.nn._feature_linear import FeatureLinear
from scwhatif.nn._gaussian_encoder import GaussianEncoder
from scwhatif.nn._gradient_reversal import gradient_reversal, reversal_schedule
from scwhatif.nn._hsic import hsic
from scwhatif.nn._immax import ImmaxLoss, immax_probability
from scwhatif.nn._latent_penalty import beta_kl, capacity_kl, gaussian_kl, total_correlation
from scwhatif.nn._latent_sparsity import latent_sparsity
from scwhatif.nn._layer_evidence import LayerEvidence, fit_layer_evidence
from scwhatif.nn._linear_count_likelihood import linear_count_log_likelihood
from scwhatif.nn._linear_decoder import LinearDecoder
from scwhatif.nn._masked_likelihood import MaskedLikelihood
from scwhatif.nn._metric_loss import MetricLoss
from scwhatif.nn._numerical_embedding import NumericalEmbedding
from scwhatif.nn._pair_encoder import PairEncoder
from scwhatif.nn._product_of_experts import product_of_experts
from scwhatif.nn._prototypes import Prototypes
from scwhatif.nn._ridge_loo import CisFit, RidgeFit, cis_ridge_loo, ridge_loo
from scwhatif.nn._rotated_normal import RotatedNormal
from scwhatif.nn._sequence_encoder import SequenceEncoder, reverse_complement

__all__ = [
    "CisFit",
    "CisSkip",
    "CovariateEffects",
    "DriverEncoder",
    "EnergyInteraction",
    "FeatureLinear",
    "GaussianEncoder",
    "ImmaxLoss",
    "LayerEvidence",
    "LinearDecoder",
    "MaskedLikelihood",
    "MetricLoss",
    "NumericalEmbedding",
    "PairEncoder",
    "PredictionMoments",
    "Prototypes",
    "RidgeFit",
    "RotatedNormal",
    "SequenceEncoder",
    "beta_kl",
    "capacity_kl",
    "cell_line_contrast",
    "cis_links",
    "cis_ridge_loo",
    "combination_weights",
    "contrastive_alignment",
    "cross_correlation",
    "fit_layer_evidence",
    "gaussian_kl",
    "gradient_reversal",
    "hsic",
    "immax_probability",
    "latent_sparsity",
    "linear_count_log_likelihood",
    "negative_binomial_log_likelihood",
    "poisson_log_likelihood",
    "prediction_moments",
    "product_of_experts",
    "reversal_schedule",
    "reverse_complement",
    "ridge_loo",
    "total_correlation",
    "unbiased_cross_correlation",
    "zero_inflated_negative_binomial_log_likelihood",
]
