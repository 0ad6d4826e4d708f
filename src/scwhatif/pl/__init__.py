"""Plots: each draws what a tool wrote, computes nothing, and returns the Axes."""

from __future__ import annotations

from scwhatif.pl._kl_history import kl_history
from scwhatif.pl._knockout import knockout
from scwhatif.pl._latent_pairs import latent_pairs
from scwhatif.pl._latent_ridge import latent_ridge
from scwhatif.pl._latent_usage import latent_usage
from scwhatif.pl._loadings import loadings
from scwhatif.pl._profile_overlay import profile_overlay
from scwhatif.pl._pseudo_profiles import pseudo_profiles
from scwhatif.pl._rank_latent import rank_latent
from scwhatif.pl._sweep_beta import sweep_beta
from scwhatif.pl._traverse import traverse

__all__ = [
    "kl_history",
    "knockout",
    "latent_pairs",
    "latent_ridge",
    "latent_usage",
    "loadings",
    "profile_overlay",
    "pseudo_profiles",
    "rank_latent",
    "sweep_beta",
    "traverse",
]
