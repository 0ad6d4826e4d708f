"""Preprocessing: AnnData or MuData in, AnnData or MuData out."""

from __future__ import annotations

from scwhatif.pp._match_genes import GeneMatch, match_genes
from scwhatif.pp._recover_counts import recover_counts

__all__ = ["GeneMatch", "match_genes", "recover_counts"]
