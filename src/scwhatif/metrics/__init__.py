"""Pure functions on arrays: scores, and whether they mean anything."""

from __future__ import annotations

from scwhatif.metrics._auc import one_vs_rest_auc
from scwhatif.metrics._matched_null import MIN_MATCHED, MatchedNull, matched_neighbours, matched_null_pvalues

__all__ = ["MIN_MATCHED", "MatchedNull", "matched_neighbours", "matched_null_pvalues", "one_vs_rest_auc"]
