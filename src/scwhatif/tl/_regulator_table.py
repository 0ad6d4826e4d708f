"""Tables of genes ranked by what they do to a readout."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.metrics import MIN_MATCHED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scwhatif.tl._cell_bins import BinMeans


def effect_statistics(
    effect: NDArray[np.float64],
    covariates: NDArray[np.float64],
    tested: NDArray[np.bool_],
    asked: NDArray[np.int64],
    n_null: int,
) -> dict[str, NDArray[np.float64]]:
    """p-values of signed effects of one group of cells against matched genes.

    Parameters
    ----------
    effect, covariates, tested
        Of all genes, ``(n_genes,)``, ``(n_genes, n_covariates)`` and ``(n_genes,)``.
    asked
        Genes that are reported.
    n_null
        Number of matches; 0 for none.

    Returns
    -------
    ``null_sd``, ``pval_rank``, ``pval`` and ``padj`` of the genes asked for; NaN where a gene was not tested.
    """
    from scipy.stats import false_discovery_control

    from scwhatif.metrics import signed_null_pvalues

    found = {name: np.full(len(asked), np.nan) for name in ("null_sd", "pval_rank", "pval", "padj")}
    reported = tested[asked]
    if n_null and reported.any():
        null = signed_null_pvalues(np.where(tested, effect, np.nan), covariates, n_null=n_null, eligible=tested)
        found["null_sd"], found["pval_rank"], found["pval"] = null.scale[asked], null.pval_rank[asked], null.pval[asked]
        if np.isfinite(found["pval"][reported]).all():
            found["padj"][reported] = false_discovery_control(found["pval"][reported])
    return found


def warn_unmatched(table: pd.DataFrame, effect: str, pval: str) -> None:
    """Say for which groups there are effects and no p-values.

    Parameters
    ----------
    table
        With ``group``.
    effect, pval
        Names of the columns.
    """
    lacking = table[table[effect].notna() & table[pval].isna()]
    if len(lacking):
        warnings.warn(
            f"No p-values for {', '.join(repr(str(name)) for name in lacking['group'].unique())}: a gene needs "
            f"{MIN_MATCHED} others to be compared with. Lower min_cells, or use larger groups.",
            UserWarning,
            stacklevel=3,
        )


def stack(blocks: Sequence[pd.DataFrame], **categories: Sequence[str]) -> pd.DataFrame:
    """Put tables below each other, in the form that a file gives back.

    Parameters
    ----------
    blocks
        The tables.
    **categories
        Categories of columns, in order.

    Returns
    -------
    The table, indexed ``"0"``, ``"1"`` ….
    """
    table = pd.concat(blocks, ignore_index=True)
    for name, values in categories.items():
        table[name] = pd.Categorical(table[name], categories=list(values))
    table.index = table.index.astype(str)
    return table


def ends(means: BinMeans, at: tuple[Any, int]) -> dict[str, NDArray[np.float64]]:
    """Columns ``low`` and ``high`` where there are intervals.

    Parameters
    ----------
    means
        The means.
    at
        Genes, and the name.

    Returns
    -------
    Columns by name.
    """
    return {} if means.low is None or means.high is None else {"low": means.low[at], "high": means.high[at]}


def agreement(effects: Mapping[str, NDArray[np.float64]]) -> pd.DataFrame:
    """Rank correlation of the effects that methods give genes.

    Parameters
    ----------
    effects
        By method, ``(n_genes,)``, NaN for genes that were not tested.

    Returns
    -------
    ``method_a``, ``method_b``, ``spearman``.
    """
    table = pd.DataFrame(
        [
            (a, b, pd.Series(effects[a]).corr(pd.Series(effects[b]), method="spearman"))
            for a, b in combinations(effects, 2)
        ],
        columns=["method_a", "method_b", "spearman"],
    )
    table.index = table.index.astype(str)
    return table
