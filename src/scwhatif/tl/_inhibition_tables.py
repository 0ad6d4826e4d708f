"""Tables of what genes do before and after others are inhibited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.tl._coalitions import Player
from scwhatif.tl._gene_readout import knockout
from scwhatif.tl._regulator_table import effect_statistics, ends, stack
from scwhatif.tl._screen_table import Covariate, gene_covariates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scwhatif.engine import Item
    from scwhatif.tl._cell_bins import CellBins
    from scwhatif.tl._encoder_source import EncoderSource
    from scwhatif.tl._gene_readout import ReadoutSums
    from scwhatif.tl._readout_target import Reference


def inhibition_table(
    sums: ReadoutSums,
    source: EncoderSource,
    bins: CellBins,
    genes: NDArray[np.int64],
    rows: NDArray[np.int64],
    var_names: pd.Index,
    n_null: int,
    match_on: Sequence[Covariate],
    min_cells: int,
) -> pd.DataFrame:
    """Compare what genes do alone and after the inhibition with matched genes.

    Parameters
    ----------
    sums
        Of the inhibition, then of every gene alone, then of every gene after it.
    source, bins
        How cells are encoded, and parts of them.
    genes
        Genes that were screened.
    rows
        Which of them are reported.
    var_names
        Names of all genes.
    n_null, match_on, min_cells
        As for :func:`scwhatif.tl.resistance_drivers`.

    Returns
    -------
    One row per group and gene.
    """
    single, both = sums.change[1 : 1 + len(genes)], sums.change[1 + len(genes) :] - sums.change[0]
    means = {name: bins.means(each) for name, each in (("single", single), ("after", both), ("synergy", both - single))}
    n_cells, total = (bins.sums(each[genes, : bins.n_bins]) for each in (sums.counts.n_nonzero, sums.counts.total))
    mean = total / bins.sums(bins.sizes[None])
    blocks = []
    for i, (name, parts) in enumerate(bins.strata):
        covariates = gene_covariates(sums.counts, parts, source.log_weight, match_on)[genes]
        tested = n_cells[:, i] >= min_cells
        effect = {key: np.where(tested, each.mean[:, i], np.nan) for key, each in means.items()}
        after, synergy = (
            effect_statistics(effect[key], covariates, tested, rows, n_null) for key in ("after", "synergy")
        )
        block = pd.DataFrame(
            {
                "group": name,
                "gene": np.asarray(var_names[genes[rows]], dtype=object),
                "n_cells": n_cells[rows, i],
                "mean_expression": mean[rows, i],
                **{key: each[rows] for key, each in effect.items()},
                **ends(means["after"], (rows, i)),
                **{key: after[key] for key in ("pval_rank", "pval", "padj")},
                **{f"synergy_{key}": synergy[key] for key in ("pval", "padj")},
            }
        )
        blocks.append(block.sort_values("after", kind="stable"))
    return stack(blocks, group=[name for name, _ in bins.strata], gene=list(var_names[genes[rows]]))


def closest_players(
    base: Item, first: Sequence[int], overall: pd.DataFrame, var_names: pd.Index, max_set: int
) -> list[Player]:
    """Genes inhibited, and the candidates that bring cells closest after them.

    Parameters
    ----------
    base
        The inhibition.
    first
        Genes inhibited.
    overall
        Rows of all cells.
    var_names
        Names of all genes.
    max_set
        Number of players; 0 for none.

    Returns
    -------
    The players.
    """
    if not max_set:
        return []
    players = [
        Player(str(var_names[gene]), inhibited=True, item=tuple(each for each in base if each[0] == gene))
        for gene in first
    ]
    closest = overall[overall["after"].notna()].head(max_set - len(players))["gene"].astype(str)
    return players + [
        Player(gene, inhibited=False, item=knockout(int(column)))
        for gene, column in zip(closest, var_names.get_indexer(closest), strict=True)
    ]


def distance_table(state: Reference, bins: CellBins, z: NDArray[np.float64], sums: ReadoutSums) -> pd.DataFrame:
    """Mean distances before and after the inhibition.

    Parameters
    ----------
    state
        The reference.
    bins
        Parts of the cells followed.
    z
        Codes of all cells.
    sums
        Of the inhibition first.

    Returns
    -------
    One row per group.
    """
    import torch

    own = state.readout(torch.from_numpy(z)).numpy()
    total = np.bincount(bins.codes, own, minlength=bins.n_bins + 1)[None, : bins.n_bins].astype(np.float64)
    start = bins.means(total).mean[0]
    table = pd.DataFrame(
        {
            "group": pd.Categorical([name for name, _ in bins.strata], [name for name, _ in bins.strata]),
            "n_cells": bins.sums(bins.sizes[None])[0],
            "before": start,
            "inhibited": start + bins.means(sums.change[:1]).mean[0],
            "reference": own[state.members].mean(),
        }
    )
    table.index = table.index.astype(str)
    return table
