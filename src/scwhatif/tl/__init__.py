"""Tools: what a user asks of a model; answers are written into the data."""

from __future__ import annotations

from scwhatif.tl._axis import axis
from scwhatif.tl._checkpoint_health import checkpoint_health
from scwhatif.tl._cluster_geometry import cluster_geometry
from scwhatif.tl._compare_runs import compare_runs
from scwhatif.tl._cross_context_validate import cross_context_validate
from scwhatif.tl._cross_validate import cross_validate
from scwhatif.tl._decode import decode
from scwhatif.tl._decoder_flow import decoder_flow
from scwhatif.tl._embedding_health import embedding_health
from scwhatif.tl._energy_map import energy_map
from scwhatif.tl._enrich_loadings import enrich_loadings
from scwhatif.tl._epistasis import epistasis
from scwhatif.tl._fusion_deletion import fusion_deletion
from scwhatif.tl._gene_effects import gene_effects
from scwhatif.tl._gene_knockout import gene_knockout
from scwhatif.tl._knockout import knockout
from scwhatif.tl._latent_classifier import latent_classifier
from scwhatif.tl._latent_edit import latent_edit
from scwhatif.tl._latent_usage import latent_usage
from scwhatif.tl._loadings import loadings
from scwhatif.tl._master_regulators import master_regulators
from scwhatif.tl._matched_gene_sets import matched_gene_sets
from scwhatif.tl._pair_attribution import pair_attribution
from scwhatif.tl._perturb import perturb
from scwhatif.tl._place import place
from scwhatif.tl._project_shift import project_shift
from scwhatif.tl._pseudo_profiles import pseudo_profiles
from scwhatif.tl._ptm_dependency import ptm_dependency
from scwhatif.tl._rank_latent import rank_latent
from scwhatif.tl._rank_retrieval import rank_retrieval
from scwhatif.tl._resistance_drivers import resistance_drivers
from scwhatif.tl._rotate import rotate
from scwhatif.tl._screen import screen
from scwhatif.tl._storm_leader import storm_leader
from scwhatif.tl._suspicious_labels import suspicious_labels
from scwhatif.tl._swap_context import swap_context
from scwhatif.tl._sweep_beta import sweep_beta
from scwhatif.tl._traverse import traverse

__all__ = [
    "axis",
    "checkpoint_health",
    "cluster_geometry",
    "compare_runs",
    "cross_context_validate",
    "cross_validate",
    "decode",
    "decoder_flow",
    "embedding_health",
    "energy_map",
    "enrich_loadings",
    "epistasis",
    "fusion_deletion",
    "gene_effects",
    "gene_knockout",
    "knockout",
    "latent_classifier",
    "latent_edit",
    "latent_usage",
    "loadings",
    "master_regulators",
    "matched_gene_sets",
    "pair_attribution",
    "perturb",
    "place",
    "project_shift",
    "pseudo_profiles",
    "ptm_dependency",
    "rank_latent",
    "rank_retrieval",
    "resistance_drivers",
    "rotate",
    "screen",
    "storm_leader",
    "suspicious_labels",
    "swap_context",
    "sweep_beta",
    "traverse",
]
