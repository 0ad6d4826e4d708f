"""From the sums of a screen to a tidy table, group by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from scwhatif.engine import FeatureCounts, ScreenSums

Covariate = Literal["mean", "detection", "weight"]

# The group that holds all cells.
ALL_CELLS = "all"


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
    """

    name: str
    members: NDArray[np.int64]
    n_cells: int
    n_changed: NDArray[np.int64]
    mean_expression: NDArray[np.float64]
    covariates: NDArray[np.float64]
    tested: NDArray[np.bool_]

    def mean_shift(self, sums: ScreenSums) -> NDArray[np.float64]:
        """Displacement of the centre of the group by each gene screened, ``(n_screened, n_latent)``."""
        return sums.shift[:, self.members].sum(axis=1) / self.n_cells


def stratify(
    counts: FeatureCounts,
    names: Sequence[str],
    weight_norm: NDArray[np.float64],
    match_on: Sequence[Covariate],
    *,
    min_cells: int,
) -> list[Stratum]:
    """Describe all cells together and, where there are several groups, each of them.

    Parameters
    ----------
    counts
        From the screen.
    names
        Names of the screen's groups; none if cells are not grouped.
    weight_norm
        Length of each gene's first-layer weights, ``(n_genes,)``.
    match_on
        Which covariates to use.
    min_cells
        Cells that must change for a gene to be tested.

    Returns
    -------
    All cells first.
    """
    groups = [(ALL_CELLS, np.arange(len(counts.n_cells))), *((name, np.array([i])) for i, name in enumerate(names))]
    # no gene without weights may stand at minus infinity
    length = np.log(np.maximum(weight_norm, weight_norm[weight_norm > 0].min(initial=1.0)))
    strata = []
    for name, members in groups:
        n_cells = int(counts.n_cells[members].sum())
        n_changed = counts.n_changed[:, members].sum(axis=1)
        covariates = {
            # half a count stands in for genes never seen
            "mean": np.log((counts.total_abs[:, members].sum(axis=1) + 0.5) / n_cells),
            "detection": counts.n_nonzero[:, members].sum(axis=1) / n_cells,
            "weight": length,
        }
        strata.append(
            Stratum(
                name=name,
                members=members,
                n_cells=n_cells,
                n_changed=n_changed,
                mean_expression=counts.total[:, members].sum(axis=1) / n_cells,
                covariates=np.column_stack([covariates[each] for each in match_on]),
                tested=n_changed >= min_cells,
            )
        )
    return strata


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
            for each in strata
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


def _stratum_values(
    stratum: Stratum, sums: ScreenSums, screened: NDArray[np.int64], columns: NDArray[np.int64], n_null: int
) -> dict[str, NDArray]:
    n_changed = np.maximum(stratum.n_changed[screened], 1)
    score, kl = (sums_[:, stratum.members].sum(axis=1) / n_changed for sums_ in (sums.distance, sums.kl))
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

        from scwhatif.metrics import matched_null_pvalues

        spread = np.full(len(stratum.tested), np.nan)
        spread[screened] = score
        null = matched_null_pvalues(
            spread, stratum.covariates, n_null=n_null, eligible=stratum.tested, targets=columns[tested]
        )
        with np.errstate(divide="ignore"):
            residual = np.log2(score[asked][tested] / null.expected)
        padj = false_discovery_control(null.pval) if np.isfinite(null.pval).all() else np.nan
        for name, found in zip(statistics, (null.expected, residual, null.pval_rank, null.pval, padj), strict=True):
            values[name][tested] = found
    return values
