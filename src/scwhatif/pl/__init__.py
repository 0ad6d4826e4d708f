"""Plots: each draws what a tool wrote, computes nothing, and returns the Axes."""

from __future__ import annotations

from scwhatif.pl._checkpoint_health import checkpoint_health
from scwhatif.pl._cluster_geometry import cluster_geometry
from scwhatif.pl._compare_runs import compare_runs
from scwhatif.pl._confusion import confusion
from scwhatif.pl._cross_context_validate import cross_context_validate
from scwhatif.pl._cross_validate import cross_validate
from scwhatif.pl._decoder_flow import decoder_flow
from scwhatif.pl._dose_response import dose_response
from scwhatif.pl._embedding_health import embedding_health
from scwhatif.pl._energy_map import energy_map
from scwhatif.pl._epistasis import epistasis
from scwhatif.pl._fusion_deletion import fusion_deletion
from scwhatif.pl._gene_knockout import gene_knockout
from scwhatif.pl._kl_history import kl_history
from scwhatif.pl._knockout import knockout
from scwhatif.pl._latent_arrows import latent_arrows
from scwhatif.pl._latent_pairs import latent_pairs
from scwhatif.pl._latent_ridge import latent_ridge
from scwhatif.pl._latent_usage import latent_usage
from scwhatif.pl._loadings import loadings
from scwhatif.pl._master_regulators import master_regulators
from scwhatif.pl._pair_attribution import pair_attribution
from scwhatif.pl._profile_overlay import profile_overlay
from scwhatif.pl._pseudo_profiles import pseudo_profiles
from scwhatif.pl._ptm_dependency import ptm_dependency
from scwhatif.pl._rank_latent import rank_latent
from scwhatif.pl._rank_retrieval import rank_retrieval
from scwhatif.pl._reliability import reliability
from scwhatif.pl._resistance_drivers import resistance_drivers
from scwhatif.pl._storm_leader import storm_leader
from scwhatif.pl._suspicious_labels import suspicious_labels
from scwhatif.pl._swap_context import swap_context
from scwhatif.pl._sweep_beta import sweep_beta
from scwhatif.pl._traverse import traverse
from scwhatif.pl._volcano import volcano

__all__ = [
    "checkpoint_health",
    "cluster_geometry",
    "compare_runs",
    "confusion",
    "cross_context_validate",
    "cross_validate",
    "decoder_flow",
    "dose_response",
    "embedding_health",
    "energy_map",
    "epistasis",
    "fusion_deletion",
    "gene_knockout",
    "kl_history",
    "knockout",
    "latent_arrows",
    "latent_pairs",
    "latent_ridge",
    "latent_usage",
    "loadings",
    "master_regulators",
    "pair_attribution",
    "profile_overlay",
    "pseudo_profiles",
    "ptm_dependency",
    "rank_latent",
    "rank_retrieval",
    "reliability",
    "resistance_drivers",
    "storm_leader",
    "suspicious_labels",
    "swap_context",
    "sweep_beta",
    "traverse",
    "volcano",
]
