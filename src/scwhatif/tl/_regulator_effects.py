"""What genes do to a readout by each method, and the tables of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scwhatif.tl._gene_readout import gradient_readout, knockout, screen_readout
from scwhatif.tl._regulator_table import effect_statistics, ends, stack
from scwhatif.tl._screen_table import Covariate, gene_covariates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from scwhatif.engine import FeatureCounts, LinearReadout
    from scwhatif.tl._cell_bins import BinMeans, CellBins
    from scwhatif.tl._encoder_source import EncoderSource


class RegulatorEffects(NamedTuple):
    """Of every gene, and what the data say of them.

    Parameters
    ----------
    change
        Mean change of the readout, by method.
    size
        Mean of its absolute value, by method.
    completeness
        What shares lack to add up, by method; NaN for methods without shares.
    counts
        Cells with each gene, and its mean.
    """

    change: dict[str, BinMeans]
    size: dict[str, BinMeans]
    completeness: dict[str, float]
    counts: FeatureCounts


def regulator_effects(
    source: EncoderSource,
    module: nn.Module,
    readout: LinearReadout,
    bins: CellBins,
    methods: Sequence[str],
    *,
    n_steps: int,
    n_baselines: int,
    seed: int,
    n_jobs: int | None,
    progress: bool,
) -> RegulatorEffects:
    """Compute what every gene does to a readout.

    Parameters
    ----------
    source
        How cells are encoded.
    module
        The module of the model.
    readout
        The readout.
    bins
        Parts of the cells that means are taken of.
    methods, n_steps, n_baselines, seed, n_jobs, progress
        As for :func:`scwhatif.tl.master_regulators`.

    Returns
    -------
    The effects.
    """
    from scvi.utils import track

    from scwhatif.engine import read_rows

    knockouts = [knockout(gene) for gene in range(source.plan.n_features)]
    found = RegulatorEffects({}, {}, {}, None)  # type: ignore[arg-type]
    counts = None
    for name in methods:
        bar: Callable[..., Any] = partial(track, description=f"Effects by {name}", disable=not progress)
        sums: Any
        if name == "ko":
            sums = screen_readout(source, readout, bins, knockouts, n_jobs=n_jobs, track=bar)
            counts = sums.counts
            found.completeness[name] = np.nan
        else:
            baselines = None
            if name == "integrated_gradients":
                baselines = np.zeros((1, source.plan.n_features), np.float32)
            elif name == "expected_gradients":
                cells = bins.taking_part
                drawn = np.random.default_rng(seed).choice(cells, min(n_baselines, len(cells)), replace=False)
                rows = [read_rows(source.x, slice(int(row), int(row) + 1)).toarray() for row in np.sort(drawn)]
                baselines = np.concatenate(rows)
            sums = gradient_readout(source, module, readout, bins, baselines=baselines, n_steps=n_steps, track=bar)
            found.completeness[name] = sums.completeness
        found.change[name], found.size[name] = bins.means(sums.change), bins.means(sums.size)
    return found._replace(counts=_counts(source, bins) if counts is None else counts)


def _counts(source: EncoderSource, bins: CellBins) -> FeatureCounts:
    """What the data say of every gene, without encoding."""
    from scwhatif.engine import Screen

    return Screen(source.plan, source.x, {}, bins.codes, bins.n_bins + 1, [knockout(0)]).count()


def regulator_table(
    effects: RegulatorEffects,
    source: EncoderSource,
    bins: CellBins,
    columns: NDArray[np.int64],
    var_names: pd.Index,
    n_null: int,
    match_on: Sequence[Covariate],
    min_cells: int,
) -> pd.DataFrame:
    """Test effects against those of matched genes.

    Parameters
    ----------
    effects
        Of every gene.
    source, bins
        As for :func:`regulator_effects`.
    columns
        Genes that are reported.
    var_names
        Names of all genes.
    n_null, match_on, min_cells
        As for :func:`scwhatif.tl.master_regulators`.

    Returns
    -------
    One row per method, group and gene.
    """
    n_cells, total = (bins.sums(each[:, : bins.n_bins]) for each in (effects.counts.n_nonzero, effects.counts.total))
    mean = total / bins.sums(bins.sizes[None])
    names = [name for name, _ in bins.strata]
    blocks = []
    for method, change in effects.change.items():
        for i, (name, parts) in enumerate(bins.strata):
            covariates = gene_covariates(effects.counts, parts, source.log_weight, match_on)
            tested = n_cells[:, i] >= min_cells
            effect = np.where(tested, change.mean[:, i], np.nan)
            block = pd.DataFrame(
                {
                    "method": method,
                    "group": name,
                    "gene": np.asarray(var_names[columns], dtype=object),
                    "n_cells": n_cells[columns, i],
                    "mean_expression": mean[columns, i],
                    "effect": effect[columns],
                    "size": np.where(tested, effects.size[method].mean[:, i], np.nan)[columns],
                    **ends(change, (columns, i)),
                    **effect_statistics(effect, covariates, tested, columns, n_null),
                }
            )
            blocks.append(block.sort_values("effect", key=lambda values: -values.abs(), kind="stable"))
    return stack(blocks, method=list(effects.change), group=names, gene=list(var_names[columns]))


def method_summary(overall: dict[str, pd.DataFrame], effects: RegulatorEffects) -> pd.DataFrame:
    """Sum up every method.

    Parameters
    ----------
    overall
        Rows of all cells by method.
    effects
        Of every gene.

    Returns
    -------
    One row per method.
    """
    table = pd.DataFrame(
        [
            {
                "method": name,
                "n_tested": int(rows["effect"].notna().sum()),
                "n_significant": int((rows["padj"] < 0.05).sum()),
                "spearman_mean_expression": rows["effect"].abs().corr(rows["mean_expression"], method="spearman"),
                "completeness": effects.completeness[name],
            }
            for name, rows in overall.items()
        ]
    )
    table.index = table.index.astype(str)
    return table
