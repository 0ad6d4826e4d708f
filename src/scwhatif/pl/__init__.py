"""Plots: each draws what a tool wrote, computes nothing, and returns the Axes."""

from __future__ import annotations

from scwhatif.pl._knockout import knockout
from scwhatif.pl._loadings import loadings
from scwhatif.pl._pseudo_profiles import pseudo_profiles
from scwhatif.pl._rank_latent import rank_latent

__all__ = ["knockout", "loadings", "pseudo_profiles", "rank_latent"]
