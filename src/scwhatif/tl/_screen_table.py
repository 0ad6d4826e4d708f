"""From the sums of a screen of single genes to a tidy table, group by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scwhatif.tl._cell_groups import MIN_DONORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from scwhatif.engine import FeatureCounts, ScreenSums
    from scwhatif.tl._cell_groups import CellGroups

Covariate = Literal["mean", "detection", "weight"]
# log2 of score over expectation that stands for no effect at all.
_LEAST_RESIDUAL = -20.0


@dataclass(frozen=True, eq=False)
class Stratum:
    """A group of cells, or all of them, and what its genes look like before anything is encoded.

    Parameters
    ----------
    name
        Name of the group.
    members
        Which of the screen's groups it consists of.
    n_cells
        Number of cells.
    n_changed
        Cells of each gene that the operation changes, ``(n_genes,)``.
    mean_expression
        ``(n_genes,)``.
    covariates
        What genes are matched on, ``(n_genes, n_covariates)``.
    tested
        Genes changed in enough cells, ``(n_genes,)``.
    by_donor
        The same of each donor alone.
    """

    name: str
    members: NDArray[np.int64]
    n_cells: int
    n_changed: NDArray[np.int64]
    mean_expression: NDArray[np.float64]
    covariates: NDArray[np.float64]
    tested: NDArray[np.bool_]
    by_donor: tuple[Stratum, ...] = ()

    def mean_shift(self, sums: ScreenSums) -> NDArray[np.float64]:
        """Displacement of the centre of the group by each item screened, ``(n_items, n_latent)``."""
        return sums.shift[:, self.members].sum(axis=1) / self.n_cells

    def score(self, sums: ScreenSums, n_changed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean length of the shift over the cells changed by each item screened, ``(n_items,)``."""
        return sums.distance[:, self.members].sum(axis=1) / np.maximum(n_changed, 1)


def stratify(
    counts: FeatureCounts,
    groups: CellGroups,
    log_weight: NDArray[np.float64] | None,
    match_on: Sequence[Covariate],
    *,
    min_cells: int,
) -> list[Stratum]:
    """Describe all cells together and, where there are several groups, each of them.

    Parameters
    ----------
    counts
        From a screen whose groups are the parts of ``groups`` and whose items are all genes in order.
    groups
        The cells.
    log_weight
        Log length of each gene's first-layer weights, ``(n_genes,)``; needed only to match on it.
    match_on
        Which covariates to use.
    min_cells
        Cells that must change for a gene to be tested.

    Returns
    -------
    All cells first.
    """

    def describe(name: str, members: NDArray[np.int64], by_donor: tuple[Stratum, ...] = ()) -> Stratum:
        n_changed = counts.n_changed[:, members].sum(axis=1)
        return Stratum(
            name=name,
            members=members,
            n_cells=int(counts.n_cells[members].sum()),
            n_changed=n_changed,
            mean_expression=counts.total[:, members].sum(axis=1) / counts.n_cells[members].sum(),
            covariates=gene_covariates(counts, members, log_weight, match_on),
            tested=n_changed >= min_cells,
            by_donor=by_donor,
        )

    strata = []
    for name, members in groups.strata:
        own = [(donor, members[groups.donor_of[members] == i]) for i, donor in enumerate(groups.donors)]
        strata.append(describe(name, members, tuple(describe(donor, parts) for donor, parts in own if len(parts))))
    return strata


def gene_covariates(
    counts: FeatureCounts,
    members: NDArray[np.int64],
    log_weight: NDArray[np.float64] | None,
    names: Sequence[Covariate],
) -> NDArray[np.float64]:
    """What genes look like in some cells.

    Parameters
    ----------
    counts
        From a screen.
    members
        Groups of the screen that hold the cells.
    log_weight
        As in :func:`stratify`.
    names
        Which covariates.

    Returns
    -------
    ``(n_genes, n_covariates)``.
    """
    n_cells = counts.n_cells[members].sum()
    covariates = {
        # half a count stands in for genes never seen
        "mean": np.log((counts.total_abs[:, members].sum(axis=1) + 0.5) / n_cells),
        "detection": counts.n_nonzero[:, members].sum(axis=1) / n_cells,
        "weight": log_weight,
    }
    return np.column_stack([covariates[each] for each in names])


def with_matches(strata: Iterable[Stratum], columns: NDArray[np.int64], n_null: int) -> NDArray[np.int64]:
    """Add to the genes asked for those they are compared with in any stratum: all these need to be encoded.

    Parameters
    ----------
    strata
        From :func:`stratify`.
    columns
        Genes asked for.
    n_null
        Number of matches of each.

    Returns
    -------
    Sorted, each once.
    """
    from scwhatif.metrics import matched_neighbours

    needed = [columns]
    if n_null:
        needed += [
            matched_neighbours(each.covariates, each.tested, columns[each.tested[columns]], n_null).ravel()
            for stratum in strata
            for each in (stratum, *stratum.by_donor)
        ]
    return np.unique(np.concatenate(needed))


def screen_table(
    strata: Sequence[Stratum],
    sums: ScreenSums,
    screened: NDArray[np.int64],
    columns: NDArray[np.int64],
    var_names: pd.Index,
    n_null: int,
) -> pd.DataFrame:
    """Effects and their statistics.

    Parameters
    ----------
    strata
        From :func:`stratify`.
    sums
        From the screen of ``screened``.
    screened
        From :func:`with_matches`.
    columns
        Genes asked for, sorted.
    var_names
        Names of all genes.
    n_null
        Number of matches; 0 leaves the statistics out.

    Returns
    -------
    One row per stratum and gene asked for, as :func:`scwhatif.tl.knockout` describes it; indexed ``"0"``, ``"1"`` …,
    as a file stores it.
    """
    blocks = [_stratum_values(each, sums, screened, columns, n_null) for each in strata]
    names = [each.name for each in strata]
    table = pd.DataFrame(
        {
            "group": pd.Categorical(np.repeat(names, len(columns)), categories=names),
            "gene": pd.Categorical(np.tile(np.asarray(var_names[columns], dtype=object), len(strata))),
            **{name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]},
        }
    )
    table.index = table.index.astype(str)
    return table


def donor_pvalues(residual: NDArray[np.float64]) -> dict[str, NDArray]:
    """Test over donors whether residuals lie above 0.

    Parameters
    ----------
    residual
        log2 of score over expected score, ``(n_donors, n_tested)``; NaN where a donor has none.

    Returns
    -------
    ``n_donors``, and ``pval_donor`` of a one-sided t-test where there are three or more, with ``padj_donor`` (false
    discovery rate); each ``(n_tested,)``.
    """
    from scipy.stats import false_discovery_control, t

    n_donors = np.isfinite(residual).sum(axis=0)
    pval, padj = np.full((2, residual.shape[1]), np.nan)
    enough = n_donors >= MIN_DONORS
    if enough.any():
        known, n = residual[:, enough], n_donors[enough]
        mean, error = np.nanmean(known, axis=0), np.nanstd(known, axis=0, ddof=1) / np.sqrt(n)
        # donors that agree to the last digit leave no scatter to compare with
        pval[enough] = t.sf(mean / np.maximum(error, 1e-12), n - 1)
        padj[enough] = false_discovery_control(pval[enough])
    return {"n_donors": n_donors, "pval_donor": pval, "padj_donor": padj}


def _stratum_values(
    stratum: Stratum, sums: ScreenSums, screened: NDArray[np.int64], columns: NDArray[np.int64], n_null: int
) -> dict[str, NDArray]:
    n_changed = stratum.n_changed[screened]
    score = stratum.score(sums, n_changed)
    kl = sums.kl[:, stratum.members].sum(axis=1) / np.maximum(n_changed, 1)
    asked = np.searchsorted(screened, columns)
    tested = stratum.tested[columns]
    values: dict[str, NDArray] = {"n_cells": stratum.n_changed[columns]}
    values["mean_expression"] = stratum.mean_expression[columns]
    norm = np.linalg.norm(stratum.mean_shift(sums), axis=1)
    for name, effect in (("score", score), ("kl", kl), ("shift_norm", norm)):
        values[name] = np.where(tested, effect[asked], np.nan)
    statistics = ("score_expected", "score_residual", "pval_rank", "pval", "padj")
    values |= {name: np.full(len(columns), np.nan) for name in statistics}
    if n_null and tested.any():
        from scipy.stats import false_discovery_control

        null = _compare(stratum, score, screened, columns[tested], n_null)
        padj = false_discovery_control(null["pval"]) if np.isfinite(null["pval"]).all() else np.nan
        for name in statistics:
            values[name][tested] = padj if name == "padj" else null[name]
    if stratum.by_donor:
        values |= _over_donors(stratum, sums, screened, columns, n_null)
    return values


def _compare(
    stratum: Stratum,
    score: NDArray[np.float64],
    screened: NDArray[np.int64],
    targets: NDArray[np.int64],
    n_null: int,
) -> dict[str, NDArray[np.float64]]:
    """Score expected from matched genes, and how far each target stands out."""
    from scwhatif.metrics import matched_null_pvalues

    spread = np.full(len(stratum.tested), np.nan)
    spread[screened] = score
    null = matched_null_pvalues(spread, stratum.covariates, n_null=n_null, eligible=stratum.tested, targets=targets)
    with np.errstate(divide="ignore"):
        residual = np.log2(spread[targets] / null.expected)
    return {
        "score_expected": null.expected,
        "score_residual": residual,
        "pval_rank": null.pval_rank,
        "pval": null.pval,
    }


def _over_donors(
    stratum: Stratum, sums: ScreenSums, screened: NDArray[np.int64], columns: NDArray[np.int64], n_null: int
) -> dict[str, NDArray]:
    residual = np.full((len(stratum.by_donor), len(columns)), np.nan)
    for i, donor in enumerate(stratum.by_donor):
        tested = donor.tested[columns] & stratum.tested[columns]
        if n_null and tested.any():
            score = donor.score(sums, donor.n_changed[screened])
            residual[i, tested] = _compare(donor, score, screened, columns[tested], n_null)["score_residual"]
    return donor_pvalues(np.maximum(residual, _LEAST_RESIDUAL))
