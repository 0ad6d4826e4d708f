"""Tools: what a user asks of a model; answers are written into the data."""

from __future__ import annotations

from scwhatif.tl._knockout import knockout
from scwhatif.tl._latent_usage import latent_usage
from scwhatif.tl._loadings import loadings
from scwhatif.tl._place import place
from scwhatif.tl._pseudo_profiles import pseudo_profiles
from scwhatif.tl._rank_latent import rank_latent
from scwhatif.tl._rotate import rotate
from scwhatif.tl._sweep_beta import sweep_beta
from scwhatif.tl._traverse import traverse

__all__ = [
    "knockout",
    "latent_usage",
    "loadings",
    "place",
    "pseudo_profiles",
    "rank_latent",
    "rotate",
    "sweep_beta",
    "traverse",
]
