"""Pure functions on arrays: scores, and whether they mean anything."""

from __future__ import annotations

from scwhatif.metrics._auc import one_vs_rest_auc
from scwhatif.metrics._dci import DCI, dci
from scwhatif.metrics._density_separation import density_separation
from scwhatif.metrics._disentanglement import disentanglement
from scwhatif.metrics._explicitness import explicitness
from scwhatif.metrics._factor_stability import FactorStability, factor_stability
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
from scwhatif.metrics._modularity import modularity
from scwhatif.metrics._outliers import mahalanobis_outliers
from scwhatif.metrics._pairwise_auc import pairwise_auc
from scwhatif.metrics._posterior_collapse import posterior_collapse
from scwhatif.metrics._sap import sap

__all__ = [
    "ACTIVE_KL",
    "ACTIVE_VARIANCE",
    "DCI",
    "MIN_MATCHED",
    "FactorStability",
    "LatentCorrelation",
    "MatchedNull",
    "dci",
    "density_separation",
    "disentanglement",
    "explicitness",
    "factor_stability",
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
    "modularity",
    "most_similar_averaging_score",
    "most_similar_gap_score",
    "one_vs_rest_auc",
    "pairwise_auc",
    "posterior_collapse",
    "sap",
]
