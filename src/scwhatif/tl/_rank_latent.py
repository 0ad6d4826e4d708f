"""Every latent dimension as a marker of every label, beside what would do without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import false_discovery_control, rankdata

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_counts, check_finite, check_groups, check_layer, check_rep
from scwhatif.metrics._auc import auc_of_ranks

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# Genes ranked at once: 4M float64 are 32 MiB.
_BLOCK_ENTRIES = 2**22
# Equal AUCs may differ in the last bits once folded about one half.
_TIE = 1e-12


def rank_latent(
    adata: AnnData,
    groupby: str,
    *,
    use_rep: str = Key.obsm.LATENT,
    layer: str | None = None,
    n_permutations: int = 200,
    key_added: str = Key.uns.RANK_LATENT,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank latent dimensions as markers of labels, with the floors that a good one must exceed.

    Each dimension is scored by how well it alone separates the cells of a group from all others (one against the
    rest). Choosing the best of many dimensions costs what it should: p-values compare with the **best** dimension
    after shuffling the labels (max-statistic), so they hold for all dimensions of a group at once.

    Parameters
    ----------
    adata
        Cells with a representation in ``obsm``.
    groupby
        Column of ``obs`` with the labels: at least two groups of at least two cells each, none missing.
    use_rep
        Key of ``obsm``: any cells × dimensions matrix, not only ours.
    layer
        Layer with the data for the floors; ``None`` is ``X``. Counts are normalised to their median total and
        log-transformed; anything else (negative or fractional values) is taken as it is.
    n_permutations
        Number of times the labels are shuffled; the smallest p-value is ``1 / (1 + n_permutations)``.
    key_added
        Key of ``uns`` to write to.
    seed
        Seed of the shuffling and of the principal components.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["rank_latent"]["table"]`` : DataFrame
        One row per group and dimension, best first within each group: ``dimension`` (category: name of the column, or
        ``"z0"``, ``"z1"`` …), ``group`` (category), ``auc`` (in [.5, 1], whichever end separates), ``direction`` (1:
        the group lies high, -1: low), ``cohens_d`` (difference of the means in pooled standard deviations), ``pval``
        (permutation, corrected for the number of dimensions), ``padj`` (false discovery rate over the groups:
        Benjamini–Hochberg on each group's best p-value, carried to its other dimensions as in Benjamini and
        Bogomolov, 2014).
    ``uns["rank_latent"]["floors"]`` : DataFrame
        One row per group: ``group``, ``n_cells``, ``best_dimension``, its ``auc``; ``chance_auc`` (what the best
        dimension exceeds in 5 % of shuffles), ``pc_auc`` (best of as many principal components of the log-normalised
        data), ``gene`` and ``gene_auc`` (best single gene, chosen among all).
    ``uns["rank_latent"]["params"]`` : dict
        Arguments and versions; ``floor_data`` says what was done to the data for the floors.

    Raises
    ------
    KeyError
        ``groupby``, ``use_rep`` or ``layer`` does not exist.
    ValueError
        Labels are missing, continuous, all the same or of a single cell; the representation or the data hold NaN;
        ``n_permutations`` is not positive.

    Notes
    -----
    The ``auc`` of the best dimension is not held out: it is to be compared with ``chance_auc``, ``pc_auc`` and
    ``gene_auc``, which had the same choice or a larger one.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 100, 4, n_cell_types=3)
    >>> wi.tl.rank_latent(adata, "cell_type", use_rep="true_factors")
    >>> adata.uns["rank_latent"]["floors"][["group", "best_dimension", "auc"]].head(2)
        group best_dimension  auc
    0  type_0             z0  1.0
    1  type_1             z1  1.0
    """
    if n_permutations < 1:
        msg = f"n_permutations={n_permutations} must be at least 1."
        raise ValueError(msg)
    groups = check_groups(adata, groupby)
    check_rep(adata, use_rep)
    check_layer(adata, layer)
    x = adata.X if layer is None else adata.layers[layer]
    check_finite(x, name="adata.X" if layer is None else f"adata.layers[{layer!r}]")

    values, dims = _representation(adata, use_rep)
    codes, names = np.asarray(groups.codes), list(groups.categories)
    ranks = rankdata(values, axis=0)
    auc = auc_of_ranks(ranks, codes, len(names))
    null = _best_by_chance(ranks, codes, len(names), n_permutations, np.random.default_rng(seed))
    pval = (1 + (null[:, None, :] >= _folded(auc) - _TIE).sum(axis=0)) / (1 + n_permutations)
    table = _table(dims, names, auc, _cohens_d(values, codes, len(names)), pval)

    data, floor_data = _log_normalised(x)
    floors = _best_dimensions(table, names, codes)
    floors["chance_auc"] = np.quantile(null, 0.95, axis=0)
    floors["pc_auc"] = _best_component(data, codes, len(names), len(dims), seed)
    best_gene, gene_auc = _best_gene(data, codes, len(names))
    floors["gene"] = np.asarray(adata.var_names, dtype=object)[best_gene]
    floors["gene_auc"] = gene_auc

    target = adata.copy() if copy else adata
    target.uns[key_added] = {
        Key.uns.PARAMS: params(
            groupby=groupby,
            use_rep=use_rep,
            layer=layer,
            n_permutations=n_permutations,
            seed=seed,
            floor_data=floor_data,
        ),
        "table": table,
        "floors": floors,
    }
    return target if copy else None


def _representation(adata: AnnData, use_rep: str) -> tuple[NDArray[np.float64], list[str]]:
    rep = adata.obsm[use_rep]
    if isinstance(rep, pd.DataFrame):
        return rep.to_numpy(dtype=np.float64), [str(name) for name in rep.columns]
    if sparse.issparse(rep):
        rep = rep.toarray()
    return np.asarray(rep, dtype=np.float64), [f"z{j}" for j in range(rep.shape[1])]


def _folded(auc: NDArray[np.float64]) -> NDArray[np.float64]:
    """Separation whichever end the group lies at."""
    return 0.5 + np.abs(auc - 0.5)


def _best_by_chance(
    ranks: NDArray[np.float64], codes: NDArray[Any], n_labels: int, n_permutations: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """AUC of the best dimension for each label after shuffling, ``(n_permutations, n_labels)``."""
    null = np.empty((n_permutations, n_labels))
    for i in range(n_permutations):
        null[i] = _folded(auc_of_ranks(ranks, rng.permutation(codes), n_labels)).max(axis=0)
    return null


def _cohens_d(values: NDArray[np.float64], codes: NDArray[Any], n_labels: int) -> NDArray[np.float64]:
    """Difference of means over the pooled standard deviation, ``(n_dims, n_labels)``; 0 for a constant dimension."""
    d = np.zeros((values.shape[1], n_labels))
    for label in range(n_labels):
        inside, outside = values[codes == label], values[codes != label]
        within = inside.var(axis=0, ddof=1) * (len(inside) - 1) + outside.var(axis=0, ddof=1) * (len(outside) - 1)
        sd = np.sqrt(within / (len(values) - 2))
        np.divide(inside.mean(axis=0) - outside.mean(axis=0), sd, out=d[:, label], where=sd > 0)
    return d


def _adjusted(pval: NDArray[np.float64]) -> NDArray[np.float64]:
    """False discovery rate over groups of p-values ``(n_dims, n_groups)`` that hold for all dimensions of a group.

    Groups are selected by their smallest p-value; a further dimension of a group is significant at a level where its
    group would still have been selected with it.
    """
    best = np.sort(pval.min(axis=0))
    adjusted = false_discovery_control(best)
    # the smallest level at which Benjamini–Hochberg admits p-values up to this one
    n_below = np.searchsorted(best, pval, side="right")
    at = np.minimum(pval * len(best) / np.maximum(n_below, 1), 1.0)
    later = np.append(adjusted, 1.0)[n_below]
    return np.minimum(at, later)


def _table(
    dims: list[str],
    names: list[str],
    auc: NDArray[np.float64],
    cohens_d: NDArray[np.float64],
    pval: NDArray[np.float64],
) -> pd.DataFrame:
    padj = _adjusted(pval)
    rows = []
    for label, name in enumerate(names):
        order = np.argsort(-_folded(auc[:, label]), kind="stable")
        rows.append(
            pd.DataFrame(
                {
                    "dimension": np.asarray(dims, dtype=object)[order],
                    "group": name,
                    "auc": _folded(auc[order, label]),
                    "direction": np.where(auc[order, label] >= 0.5, 1, -1),
                    "cohens_d": cohens_d[order, label],
                    "pval": pval[order, label],
                    "padj": padj[order, label],
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    # categories keep the order of dimensions and groups for plots
    table["dimension"] = pd.Categorical(table["dimension"], categories=dims)
    table["group"] = pd.Categorical(table["group"], categories=names)
    table.index = table.index.astype(str)
    return table


def _best_dimensions(table: pd.DataFrame, names: list[str], codes: NDArray[Any]) -> pd.DataFrame:
    best = table.drop_duplicates("group").set_index("group").loc[names].reset_index()
    best.index = best.index.astype(str)
    best.insert(1, "n_cells", np.bincount(codes, minlength=len(names)))
    return best.rename(columns={"dimension": "best_dimension"})[["group", "n_cells", "best_dimension", "auc"]]


def _log_normalised(x: Any) -> tuple[Any, str]:
    """Data for the floors in memory, and how they came about."""
    x = x if sparse.issparse(x) else x[:]
    if isinstance(x, pd.DataFrame):
        x = x.to_numpy()
    x = x.tocsr() if sparse.issparse(x) else np.asarray(x)
    try:
        check_counts(x, name="X")
    except ValueError:
        return x, "as is"
    totals = np.asarray(x.sum(axis=1), dtype=np.float64).ravel()
    scale = np.median(totals[totals > 0]) / np.where(totals > 0, totals, 1.0)
    if sparse.issparse(x):
        return (sparse.diags(scale) @ x).log1p(), "log-normalised"
    return np.log1p(x * scale[:, None]), "log-normalised"


def _best_component(data: Any, codes: NDArray[Any], n_labels: int, n_dims: int, seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA

    # arpack takes sparse data as they are, but finds no more components than this
    n_components = min(n_dims, min(data.shape) - 1)
    components = PCA(n_components, svd_solver="arpack", random_state=seed).fit_transform(data)
    return _folded(auc_of_ranks(rankdata(components, axis=0), codes, n_labels)).max(axis=0)


def _best_gene(data: Any, codes: NDArray[Any], n_labels: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Index and AUC of the gene that separates each label best."""
    by_gene = data.tocsc() if sparse.issparse(data) else data
    n_cells, n_genes = by_gene.shape
    step = max(1, _BLOCK_ENTRIES // n_cells)
    auc = np.empty((n_genes, n_labels))
    for start in range(0, n_genes, step):
        block = by_gene[:, start : start + step]
        dense = block.toarray() if sparse.issparse(block) else block
        auc[start : start + step] = _folded(auc_of_ranks(rankdata(dense, axis=0), codes, n_labels))
    best = auc.argmax(axis=0)
    return best, auc[best, np.arange(n_labels)]
