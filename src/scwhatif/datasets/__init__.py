"""Real data and simulations with planted truth; none of them needs a network."""

from __future__ import annotations

from scwhatif.datasets._pbmc68k import pbmc68k
from scwhatif.datasets._simulate_factors import simulate_factors

__all__ = ["pbmc68k", "simulate_factors"]
