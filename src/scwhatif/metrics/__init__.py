"""Pure functions on arrays: scores, and whether they mean anything."""

from __future__ import annotations

from scwhatif.metrics._auc import one_vs_rest_auc
from scwhatif.metrics._average_precision import average_precision_at
from scwhatif.metrics._bilinear_ridge import predict_bilinear
from scwhatif.metrics._calibration import (
    CalibrationFit,
    calibration_bins,
    calibration_slope,
    expected_calibration_error,
)
from scwhatif.metrics._cluster_geometry import ClusterGeometry, cluster_geometry
from scwhatif.metrics._dci import DCI, dci
from scwhatif.metrics._density_separation import density_separation
from scwhatif.metrics._discrimination_score import discrimination_score
from scwhatif.metrics._disentanglement import disentanglement
from scwhatif.metrics._distance_test import DistanceTest, distance_test
from scwhatif.metrics._driver_propensity import driver_propensity
from scwhatif.metrics._e_distance import e_distance
from scwhatif.metrics._effect_weights import EffectScores, effect_scores, effect_weights
from scwhatif.metrics._effective_rank import effective_rank
from scwhatif.metrics._embedding_indicators import embedding_indicators
from scwhatif.metrics._embedding_moments import EmbeddingMoments
from scwhatif.metrics._embedding_verdict import HEALTH_THRESHOLDS, EmbeddingVerdict, embedding_verdict
from scwhatif.metrics._evaluate_perturbation import evaluate_perturbation
from scwhatif.metrics._explicitness import explicitness
from scwhatif.metrics._f1_threshold import f1_threshold
from scwhatif.metrics._factor_stability import FactorStability, factor_stability
from scwhatif.metrics._holdout_energy import HoldoutEnergy, holdout_energy
from scwhatif.metrics._holdout_randomization import HoldoutRandomization, holdout_randomization
from scwhatif.metrics._latent_correlation import LatentCorrelation, latent_correlation
from scwhatif.metrics._latent_information import latent_information
from scwhatif.metrics._latent_matching import (
    latent_matching_score,
    match_dimensions,
    most_similar_averaging_score,
    most_similar_gap_score,
)
from scwhatif.metrics._latent_similarity import latent_similarity
from scwhatif.metrics._latent_usage import ACTIVE_KL, ACTIVE_VARIANCE, latent_usage
from scwhatif.metrics._matched_null import MIN_MATCHED, MatchedNull, matched_neighbours, matched_null_pvalues
from scwhatif.metrics._mig import mig
from scwhatif.metrics._mmd import mmd
from scwhatif.metrics._modularity import modularity
from scwhatif.metrics._nadeau_bengio import FoldInterval, nadeau_bengio_interval
from scwhatif.metrics._outliers import mahalanobis_outliers
from scwhatif.metrics._pairwise_auc import pairwise_auc
from scwhatif.metrics._pearson_delta import pearson_delta
from scwhatif.metrics._perturbation_baselines import (
    predict_additive,
    predict_average,
    predict_no_change,
    predict_train_mean,
)
from scwhatif.metrics._posterior_collapse import posterior_collapse
from scwhatif.metrics._retrieval_scores import retrieval_scores
from scwhatif.metrics._sap import sap
from scwhatif.metrics._selection_probability import SelectionProbability, selection_probability
from scwhatif.metrics._shapley import shapley_values
from scwhatif.metrics._signed_null import SignedNull, signed_null_pvalues
from scwhatif.metrics._technical_duplicate import TechnicalDuplicate, interpolated_duplicate, technical_duplicate
from scwhatif.metrics._training_trends import TrainingTrends, training_trends
from scwhatif.metrics._weighted_mse import weighted_mse, weighted_r2

__all__ = [
    "ACTIVE_KL",
    "ACTIVE_VARIANCE",
    "DCI",
    "HEALTH_THRESHOLDS",
    "MIN_MATCHED",
    "CalibrationFit",
    "ClusterGeometry",
    "DistanceTest",
    "EffectScores",
    "EmbeddingMoments",
    "EmbeddingVerdict",
    "FactorStability",
    "FoldInterval",
    "HoldoutEnergy",
    "HoldoutRandomization",
    "LatentCorrelation",
    "MatchedNull",
    "SelectionProbability",
    "SignedNull",
    "TechnicalDuplicate",
    "TrainingTrends",
    "average_precision_at",
    "calibration_bins",
    "calibration_slope",
    "cluster_geometry",
    "dci",
    "density_separation",
    "discrimination_score",
    "disentanglement",
    "distance_test",
    "driver_propensity",
    "e_distance",
    "effect_scores",
    "effect_weights",
    "effective_rank",
    "embedding_indicators",
    "embedding_verdict",
    "evaluate_perturbation",
    "expected_calibration_error",
    "explicitness",
    "f1_threshold",
    "factor_stability",
    "holdout_energy",
    "holdout_randomization",
    "interpolated_duplicate",
    "latent_correlation",
    "latent_information",
    "latent_matching_score",
    "latent_similarity",
    "latent_usage",
    "mahalanobis_outliers",
    "match_dimensions",
    "matched_neighbours",
    "matched_null_pvalues",
    "mig",
    "mmd",
    "modularity",
    "most_similar_averaging_score",
    "most_similar_gap_score",
    "nadeau_bengio_interval",
    "one_vs_rest_auc",
    "pairwise_auc",
    "pearson_delta",
    "posterior_collapse",
    "predict_additive",
    "predict_average",
    "predict_bilinear",
    "predict_no_change",
    "predict_train_mean",
    "retrieval_scores",
    "sap",
    "selection_probability",
    "shapley_values",
    "signed_null_pvalues",
    "technical_duplicate",
    "training_trends",
    "weighted_mse",
    "weighted_r2",
]
