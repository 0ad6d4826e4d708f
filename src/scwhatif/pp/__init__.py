"""Preprocessing: AnnData or MuData in, AnnData or MuData out."""

from __future__ import annotations

from scwhatif.pp._match_genes import GeneMatch, match_genes
from scwhatif.pp._perturb_counts import perturb_counts
from scwhatif.pp._recover_counts import recover_counts
from scwhatif.pp._snp_perturbation import snp_perturbation

__all__ = ["GeneMatch", "match_genes", "perturb_counts", "recover_counts", "snp_perturbation"]
