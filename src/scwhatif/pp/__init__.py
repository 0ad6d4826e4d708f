"""Preprocessing: AnnData or MuData in, AnnData or MuData out."""

from __future__ import annotations

from scwhatif.pp._add_pair_sequences import add_pair_sequences
from scwhatif.pp._match_genes import GeneMatch, match_genes
from scwhatif.pp._pair_context import pair_context
from scwhatif.pp._pairs_from_table import pairs_from_table
from scwhatif.pp._perturb_counts import perturb_counts
from scwhatif.pp._recover_counts import recover_counts
from scwhatif.pp._snp_perturbation import snp_perturbation

__all__ = [
    "GeneMatch",
    "add_pair_sequences",
    "match_genes",
    "pair_context",
    "pairs_from_table",
    "perturb_counts",
    "recover_counts",
    "snp_perturbation",
]
