"""The tables of a ranking of latent dimensions, each from arrays."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from scwhatif.metrics import density_separation, latent_correlation, pairwise_auc
from scwhatif.metrics._auc import auc_of_ranks, column_auc, folded
from scwhatif.metrics._held_out_auc import held_out_auc
from scwhatif.metrics._max_statistic import adjust_families, best_by_chance
from scwhatif.metrics._youden import youden_threshold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# Equal AUCs may differ in the last bits once folded about one half.
_TIE = 1e-12


class Ranked(NamedTuple):
    """What is ranked.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, float64.
    dims
        Names of the dimensions.
    codes
        Label of each cell, ``(n_cells,)``.
    names
        Labels in the order of their codes.
    active
        Which dimensions are not dead, ``(n_dims,)``.
    """

    values: NDArray[np.float64]
    dims: list[str]
    codes: NDArray[np.int64]
    names: list[str]
    active: NDArray[np.bool_]


def dimension_table(
    ranked: Ranked, n_permutations: int, *, blocks: NDArray[np.int64] | None, seed: int
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Score every dimension for every label against the rest.

    Parameters
    ----------
    ranked
        Dimensions and labels.
    n_permutations
        Number of times the labels are shuffled.
    blocks
        Group of each cell that shuffling respects, or ``None``.
    seed
        Seed of the shuffling.

    Returns
    -------
    The table, best dimension first within each label, and what the best dimension of each label exceeds in 5 % of
    shuffles.
    """
    n_labels = len(ranked.names)
    ranks = rankdata(ranked.values, axis=0)
    auc = auc_of_ranks(ranks, ranked.codes, n_labels)
    null = best_by_chance(ranks, ranked.codes, n_labels, n_permutations, groups=blocks, seed=seed)
    pval = (1 + (null[:, None, :] >= folded(auc) - _TIE).sum(axis=0)) / (1 + n_permutations)
    padj = adjust_families(pval)
    separation = density_separation(ranked.values, ranked.codes).to_numpy()
    cohens_d = _cohens_d(ranked.values, ranked.codes, n_labels)
    rows = []
    for label, name in enumerate(ranked.names):
        order = np.argsort(-folded(auc[:, label]), kind="stable")
        rows.append(
            pd.DataFrame(
                {
                    "dimension": np.asarray(ranked.dims, dtype=object)[order],
                    "group": name,
                    "auc": folded(auc[order, label]),
                    "direction": np.where(auc[order, label] >= 0.5, 1, -1),
                    "cohens_d": cohens_d[order, label],
                    "separation": separation[order, label],
                    "pval": pval[order, label],
                    "padj": padj[order, label],
                    "active": ranked.active[order],
                }
            )
        )
    table = _categorical(pd.concat(rows, ignore_index=True), dimension=ranked.dims, group=ranked.names)
    return table, np.quantile(null, 0.95, axis=0)


def pairwise_table(ranked: Ranked, n_permutations: int, *, blocks: NDArray[np.int64] | None, seed: int) -> pd.DataFrame:
    """Score every dimension for every pair of labels.

    Parameters
    ----------
    ranked
        Dimensions and labels.
    n_permutations
        Number of times the labels of a pair are shuffled, where ``blocks`` are given.
    blocks
        Group of each cell that shuffling respects; ``None`` takes cells as independent, and needs no shuffling.
    seed
        Seed of the shuffling.

    Returns
    -------
    The table, best dimension first within each pair.
    """
    labels = pd.Categorical.from_codes(ranked.codes, categories=ranked.names)
    table = pairwise_auc(ranked.values, labels).rename(columns={"label": "group"})
    n_dims = len(ranked.dims)
    auc = table["auc"].to_numpy().reshape(-1, n_dims)
    if blocks is not None:
        pairs = combinations(range(len(ranked.names)), 2)
        pval = [
            _pair_pvalues(ranked, pair, each, blocks, n_permutations, seed)
            for pair, each in zip(pairs, auc, strict=True)
        ]
        table["pval"] = np.concatenate(pval)
    separation = density_separation(ranked.values, labels, pairwise=True).to_numpy()
    table.insert(5, "separation", separation.T.ravel())
    table["padj"] = adjust_families(table["pval"].to_numpy().reshape(-1, n_dims).T).T.ravel()
    table["dimension"] = np.asarray(ranked.dims, dtype=object)[table["dimension"]]
    pair = np.arange(len(table)) // n_dims
    table = table.iloc[np.lexsort((-table["auc"], pair))].reset_index(drop=True)
    return _categorical(table, dimension=ranked.dims, group=ranked.names, other=ranked.names)


def _pair_pvalues(
    ranked: Ranked,
    pair: tuple[int, int],
    auc: NDArray[np.float64],
    blocks: NDArray[np.int64],
    n_permutations: int,
    seed: int,
) -> NDArray[np.float64]:
    """Of each dimension for two labels, against the best dimension when their cells' labels are shuffled."""
    inside = np.isin(ranked.codes, pair)
    codes = (ranked.codes[inside] == pair[1]).astype(np.int64)
    within = np.unique(blocks[inside], return_inverse=True)[1]
    ranks = rankdata(ranked.values[inside], axis=0)
    null = best_by_chance(ranks, codes, 2, n_permutations, groups=within, seed=seed)[:, :1]
    return (1 + (null >= auc - _TIE).sum(axis=0)) / (1 + n_permutations)


def held_out_table(
    codes: Mapping[str, Any],
    features: Mapping[str, Sequence[str]],
    ranked: Ranked,
    folds: NDArray[np.int64],
) -> pd.DataFrame:
    """Score the choice of a dimension on cells that had no part in it, for latent dimensions and floors alike.

    Parameters
    ----------
    codes
        Cells × dimensions by the name of the representation.
    features
        Names of the dimensions of each.
    ranked
        Labels.
    folds
        Fold of each cell.

    Returns
    -------
    One row per label and representation.
    """
    n_labels = len(ranked.names)
    frames = []
    for representation, values in codes.items():
        auc = folded(column_auc(values, ranked.codes, n_labels))
        best = auc.argmax(axis=0)
        found = held_out_auc(values, ranked.codes, n_labels, folds)
        agree = np.count_nonzero(found.chosen == best, axis=0) / found.n_folds
        frames.append(
            pd.DataFrame(
                {
                    "group": ranked.names,
                    "representation": representation,
                    "feature": np.asarray(features[representation], dtype=object)[best],
                    "auc": auc[best, np.arange(n_labels)],
                    "held_out_auc": found.auc,
                    "held_out_low": found.low,
                    "held_out_high": found.high,
                    "n_folds": found.n_folds,
                    "agreement": agree,
                    "sensitivity": found.sensitivity,
                    "specificity": found.specificity,
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    return _categorical(table, group=ranked.names, representation=list(codes))


def floor_table(
    table: pd.DataFrame, held_out: pd.DataFrame, ranked: Ranked, chance_auc: NDArray[np.float64]
) -> pd.DataFrame:
    """Set the best dimension of each label beside what does without a model.

    Parameters
    ----------
    table, held_out
        The other tables.
    ranked
        Dimensions and labels.
    chance_auc
        What the best dimension of each label exceeds by chance.

    Returns
    -------
    One row per label.
    """
    best = table.drop_duplicates("group").set_index("group").loc[ranked.names].reset_index()
    floors = best.rename(columns={"dimension": "best_dimension"})[["group", "best_dimension", "auc"]]
    floors.insert(1, "n_cells", np.bincount(ranked.codes, minlength=len(ranked.names)))
    floors["chance_auc"] = chance_auc
    columns = {"pca": "pc_auc", "ica": "ica_auc", "fa": "fa_auc", "gene": "gene_auc"}
    for name, column in columns.items():
        rows = held_out[held_out["representation"] == name]
        if len(rows):
            if name == "gene":
                floors["gene"] = rows["feature"].to_numpy(dtype=object)
            floors[column] = rows["auc"].to_numpy()
    return _categorical(floors, group=ranked.names)


def diagnostic_table(table: pd.DataFrame, held_out: pd.DataFrame, ranked: Ranked) -> pd.DataFrame:
    """Name the dimension that tells each label, and where to cut it.

    Parameters
    ----------
    table, held_out
        The other tables.
    ranked
        Dimensions and labels.

    Returns
    -------
    One row per label.
    """
    best = table.drop_duplicates("group").set_index("group").loc[ranked.names].reset_index()
    latent = held_out[held_out["representation"] == "latent"].reset_index(drop=True)
    thresholds = []
    for label, row in enumerate(best.itertuples()):
        column = row.direction * ranked.values[:, ranked.dims.index(row.dimension)]
        thresholds.append(row.direction * youden_threshold(column, ranked.codes == label))
    result = best[["group", "dimension", "direction", "auc"]].copy()
    scores = ["held_out_auc", "held_out_low", "held_out_high", "n_folds", "agreement"]
    result[scores] = latent[scores]
    result[["pval", "padj"]] = best[["pval", "padj"]]
    result["threshold"] = thresholds
    result[["sensitivity", "specificity"]] = latent[["sensitivity", "specificity"]]
    result["active"] = best["active"]
    others = held_out[held_out["representation"] != "latent"]
    if len(others):
        top = others.sort_values("held_out_auc", ascending=False, kind="stable").drop_duplicates("group")
        top = top.set_index("group").loc[ranked.names]
        result["best_floor"] = top["representation"].astype(str).to_numpy(dtype=object)
        result["best_floor_feature"] = top["feature"].to_numpy(dtype=object)
        result["best_floor_auc"] = top["held_out_auc"].to_numpy()
    return _categorical(result, group=ranked.names)


def residual_correlation(ranked: Ranked) -> dict[str, Any]:
    """Tell how much dimensions that are in use still say the same.

    Parameters
    ----------
    ranked
        Dimensions.

    Returns
    -------
    ``dimensions`` in use and ``n_active``, their number; ``matrix`` of their correlations, ``max_abs`` off its
    diagonal and the ``pair`` it belongs to (0 and empty for fewer than two dimensions), ``total_correlation`` in nats.
    """
    dims = np.asarray(ranked.dims, dtype=object)[ranked.active]
    if not len(dims):
        return {
            "dimensions": dims,
            "n_active": 0,
            "matrix": np.zeros((0, 0)),
            "max_abs": 0.0,
            "pair": dims,
            "total_correlation": 0.0,
        }
    found = latent_correlation(ranked.values[:, ranked.active])
    off_diagonal = np.abs(np.triu(found.matrix, 1))
    pair = np.unravel_index(off_diagonal.argmax(), off_diagonal.shape)
    return {
        "dimensions": dims,
        "n_active": len(dims),
        "matrix": found.matrix,
        "max_abs": found.largest,
        "pair": dims[list(pair)] if len(dims) > 1 else dims[:0],
        "total_correlation": found.total_correlation,
    }


def _categorical(table: pd.DataFrame, **categories: list[str]) -> pd.DataFrame:
    """Categories keep the order of dimensions and groups for plots."""
    for column, names in categories.items():
        table[column] = pd.Categorical(table[column], categories=names)
    table.index = table.index.astype(str)
    return table


def _cohens_d(values: NDArray[np.float64], codes: NDArray[Any], n_labels: int) -> NDArray[np.float64]:
    """Difference of means over the pooled standard deviation, ``(n_dims, n_labels)``; 0 for a constant dimension."""
    d = np.zeros((values.shape[1], n_labels))
    for label in range(n_labels):
        inside, outside = values[codes == label], values[codes != label]
        within = inside.var(axis=0, ddof=1) * (len(inside) - 1) + outside.var(axis=0, ddof=1) * (len(outside) - 1)
        sd = np.sqrt(within / (len(values) - 2))
        np.divide(inside.mean(axis=0) - outside.mean(axis=0), sd, out=d[:, label], where=sd > 0)
    return d
