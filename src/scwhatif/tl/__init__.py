"""Tools: what a user asks of a model; answers are written into the data."""

from __future__ import annotations

from scwhatif.tl._knockout import knockout
from scwhatif.tl._loadings import loadings
from scwhatif.tl._pseudo_profiles import pseudo_profiles
from scwhatif.tl._rank_latent import rank_latent

__all__ = ["knockout", "loadings", "pseudo_profiles", "rank_latent"]
