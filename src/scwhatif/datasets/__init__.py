"""Real data and simulations with planted truth; none of them needs a network."""

from __future__ import annotations

from scwhatif.datasets._pbmc68k import pbmc68k
from scwhatif.datasets._simulate_factors import simulate_factors
from scwhatif.datasets._simulate_flow import simulate_flow
from scwhatif.datasets._simulate_network import simulate_network
from scwhatif.datasets._simulate_pairs import simulate_pairs
from scwhatif.datasets._simulate_spectra import simulate_spectra
from scwhatif.datasets._simulate_two_factors import simulate_two_factors

__all__ = [
    "pbmc68k",
    "simulate_factors",
    "simulate_flow",
    "simulate_network",
    "simulate_pairs",
    "simulate_spectra",
    "simulate_two_factors",
]
