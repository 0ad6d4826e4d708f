"""Which gene sets each latent dimension's loadings favour."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_finite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

Method = Literal["ulm", "mlm", "zscore"]

_SHOWN = 5


def enrich_loadings(
    adata: AnnData,
    gene_sets: Mapping[str, Iterable[str]] | pd.DataFrame,
    *,
    key: str = Key.varm.LOADINGS,
    method: Method = "ulm",
    tmin: int = 5,
    key_added: str = Key.uns.ENRICH_LOADINGS,
    copy: bool = False,
) -> AnnData | None:
    r"""Test every gene set against the loadings of every latent dimension, with decoupler.

    The question is competitive: does a dimension load the genes of a set more (or less) than all other genes of the
    data? With ``"ulm"``, for the loadings :math:`w_g` of one dimension and a set with weights :math:`s_g` (0 for genes
    outside it),

    .. math:: w_g = a + b\, s_g + \varepsilon_g

    over all genes, and the score is the t-value of :math:`b`: positive where the set lies at the high end of the
    dimension, negative where at the low end. ``"mlm"`` fits all sets at once, so that those that share genes compete;
    ``"zscore"`` compares the mean of the set with that of all genes, in standard errors.

    Parameters
    ----------
    adata
        Data with loadings in ``varm``, as :func:`scwhatif.tl.loadings` writes them.
    gene_sets
        Names of the sets, each with its genes; or a table in the form of decoupler, with columns ``source`` (the set),
        ``target`` (the gene) and optionally ``weight``, one row per gene of a set. Genes are named as in
        ``adata.var_names``; :func:`scwhatif.pp.match_genes` translates.
    key
        Key of ``varm`` with the loadings, genes × dimensions, of any linear model.
    method
        ``"ulm"``, ``"mlm"`` or ``"zscore"``: the methods of decoupler whose p-values come from a law.
    tmin
        Sets with fewer genes in the data are left out.
    key_added
        Key of ``uns`` to write to.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["enrich_loadings"]["table"]`` : DataFrame
        One row per dimension and set, smallest ``pval`` first within each dimension: ``dimension`` and ``gene_set``
        (category), ``score`` (float64; t- or z-value), ``pval`` (two-sided; NaN for a dimension without variation),
        ``padj`` (over all sets of the dimension :cite:p:`Benjamini1995`, not over dimensions), ``n_genes`` (of the set
        in the data), and ``explained_share`` of the dimension where ``uns[key]`` knows it: what a dimension that
        explains next to nothing is enriched for does not matter.
    ``uns["enrich_loadings"]["sets"]`` : DataFrame
        One row per set given: ``gene_set``, ``size``, ``n_genes`` (in the data), ``tested`` (bool).
    ``uns["enrich_loadings"]["params"]`` : dict
        Arguments, ``n_sets``, ``n_tested``, versions (also decoupler's).

    Raises
    ------
    ImportError
        decoupler 2 is not installed.
    KeyError
        There are no loadings under ``key``.
    TypeError
        ``gene_sets`` is neither a mapping nor a table, or a set is given as text.
    ValueError
        No set has enough genes in the data; a gene occurs twice in a set; a weight is missing or infinite; names of
        genes in ``adata`` are not unique; loadings are not finite; the sets cannot be told apart by ``"mlm"``; a
        setting is out of range.

    Warns
    -----
    UserWarning
        Sets were left out.

    Notes
    -----
    The p-values take genes as independent. Genes of one programme are not, so a set of co-expressed genes is
    significant somewhere more easily than its p-value says. They speak of these loadings: not of another fit, nor of
    other donors. And the genes that all sets are compared with are those of ``adata``: where these were selected for
    high variance, sets are enriched among variable genes.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(50, 100, 3)
    >>> planted = adata.var_names[adata.varm["true_loadings"][:, 1] > 0.2]
    >>> wi.tl.enrich_loadings(  # doctest: +SKIP
    ...     adata, {"planted": planted, "others": adata.var_names[:20]}, key="true_loadings"
    ... )
    >>> adata.uns["enrich_loadings"]["table"].iloc[0][["dimension", "gene_set"]].tolist()  # doctest: +SKIP
    ['z1', 'planted']
    """
    if method not in get_args(Method):
        msg = f"method={method!r} must be one of {get_args(Method)}; decoupler's others have no p-values from a law."
        raise ValueError(msg)
    if tmin < 1:
        msg = f"tmin={tmin} must be at least 1."
        raise ValueError(msg)
    weights, dims = _loadings(adata, key)
    net = _net(gene_sets)
    sets, names, matrix = _match(net, adata.var_names, tmin)
    _check_tested(sets, tmin)
    decoupler = _decoupler()

    if method == "mlm" and np.linalg.matrix_rank(np.column_stack([np.ones(len(matrix)), matrix])) < len(names) + 1:
        msg = (
            f"{len(names)} sets over {len(matrix)} genes are not linearly independent, so method='mlm' cannot tell "
            "them apart. Leave out sets that others make up, or use method='ulm'."
        )
        raise ValueError(msg)
    varied = np.ptp(weights, axis=0) > 0
    score, pval = np.full((2, len(dims), len(names)), np.nan)
    score[varied], pval[varied] = getattr(decoupler.mt, method).func(weights.T[varied], matrix)

    table = _table(score, pval, dims, names, sets)
    share = _explained_share(adata, key, dims)
    if share is not None:
        table["explained_share"] = share[table["dimension"].cat.codes]
    _warn_untested(sets, tmin)
    target = adata.copy() if copy else adata
    target.uns[key_added] = {
        "table": table,
        "sets": sets,
        Key.uns.PARAMS: params(
            key=key,
            method=method,
            tmin=tmin,
            n_sets=len(sets),
            n_tested=len(names),
            decoupler_version=version("decoupler"),
        ),
    }
    return target if copy else None


def _decoupler() -> Any:
    remedy = "tl.enrich_loadings needs decoupler 2: pip install 'scwhatif[enrichment]' (or 'decoupler>=2')."
    try:
        import decoupler
    except ImportError as error:
        raise ImportError(remedy) from error
    if not hasattr(decoupler, "mt"):
        found = f"decoupler {decoupler.__version__} has another interface. {remedy}"
        raise ImportError(found)
    return decoupler


def _loadings(adata: AnnData, key: str) -> tuple[NDArray[np.float64], list[str]]:
    if key not in adata.varm:
        msg = (
            f"key={key!r} is not in adata.varm, which holds: {list(adata.varm)}. Write loadings with "
            "scwhatif.tl.loadings(adata, model)."
        )
        raise KeyError(msg)
    if not adata.var_names.is_unique:
        msg = "adata.var_names are not unique, so genes of a set cannot be found; run adata.var_names_make_unique()."
        raise ValueError(msg)
    found = adata.varm[key]
    values = np.asarray(found, dtype=np.float64)
    check_finite(values, name=f"adata.varm[{key!r}]")
    named = isinstance(found, pd.DataFrame)
    return values, [str(name) for name in found.columns] if named else [f"z{j}" for j in range(values.shape[1])]


def _net(gene_sets: Mapping[str, Iterable[str]] | pd.DataFrame) -> pd.DataFrame:
    """One row per set and gene: ``source``, ``target``, ``weight``."""
    if isinstance(gene_sets, pd.DataFrame):
        lacking = {"source", "target"} - set(gene_sets)
        if lacking:
            msg = f"gene_sets lacks the columns {sorted(lacking)}; it has {list(gene_sets)}. Rename them."
            raise ValueError(msg)
        net = gene_sets[["source", "target"]].astype(str).reset_index(drop=True)
        net["weight"] = gene_sets["weight"].to_numpy(dtype=np.float64) if "weight" in gene_sets else 1.0
    elif isinstance(gene_sets, Mapping):
        as_text = [name for name, genes in gene_sets.items() if isinstance(genes, str)]
        if as_text:
            msg = f"the genes of set {as_text[0]!r} are text; pass a list of names."
            raise TypeError(msg)
        pairs = [(str(name), str(gene)) for name, genes in gene_sets.items() for gene in dict.fromkeys(genes)]
        net = pd.DataFrame(pairs, columns=["source", "target"]).assign(weight=1.0)
    else:
        msg = f"gene_sets must be a mapping of names to genes or a table, not {type(gene_sets).__name__}."
        raise TypeError(msg)
    twice = net[net.duplicated(["source", "target"])]
    if len(twice):
        source, gene = twice.iloc[0][["source", "target"]]
        msg = (
            f"gene_sets names {len(twice)} gene(s) of a set twice, first {gene!r} of {source!r}. Keep one with "
            "gene_sets.drop_duplicates(['source', 'target'])."
        )
        raise ValueError(msg)
    if not np.isfinite(net["weight"]).all():
        msg = "gene_sets has weights that are missing or infinite; fill or remove them."
        raise ValueError(msg)
    return net


def _match(net: pd.DataFrame, genes: pd.Index, tmin: int) -> tuple[pd.DataFrame, list[str], NDArray[np.float64]]:
    """What is known of each set, in the order given; those to be tested, and the weight of every gene in each."""
    row = genes.get_indexer(net["target"])
    sets = (
        net.assign(n_genes=row >= 0)
        .groupby("source", sort=False)
        .agg(size=("target", "size"), n_genes=("n_genes", "sum"))
    )
    names = sets.index[sets["n_genes"] >= tmin]
    column = names.get_indexer(net["source"])
    used = (row >= 0) & (column >= 0)
    matrix = np.zeros((len(genes), len(names)))
    matrix[row[used], column[used]] = net["weight"].to_numpy()[used]
    # a set that gives all genes the same weight sets none of them apart
    apart = np.ptp(matrix, axis=0) > 0
    sets["tested"] = sets.index.isin(names[apart])
    sets = sets.reset_index(names="gene_set")
    sets.index = sets.index.astype(str)
    return sets, list(names[apart]), matrix[:, apart]


def _check_tested(sets: pd.DataFrame, tmin: int) -> None:
    if sets["tested"].any():
        return
    found = f"at most {sets['n_genes'].max()} are found" if len(sets) else "there is no set"
    msg = (
        f"no set has tmin={tmin} or more, but not all, genes of adata.var_names ({found}). Check with "
        "scwhatif.pp.match_genes that names are of one kind, or lower tmin."
    )
    raise ValueError(msg)


def _warn_untested(sets: pd.DataFrame, tmin: int) -> None:
    left_out = list(sets.loc[~sets["tested"], "gene_set"])
    if left_out:
        more = f", … ({len(left_out) - _SHOWN} more)" if len(left_out) > _SHOWN else ""
        warnings.warn(
            f"{len(left_out)} of {len(sets)} sets were not tested, because they have fewer than tmin={tmin} genes in "
            f"the data, or all of these: {', '.join(left_out[:_SHOWN])}{more}.",
            UserWarning,
            stacklevel=3,
        )


def _table(
    score: NDArray[np.float64], pval: NDArray[np.float64], dims: list[str], names: list[str], sets: pd.DataFrame
) -> pd.DataFrame:
    n_genes = sets.loc[sets["tested"], "n_genes"].to_numpy()
    frames = []
    for j, dim in enumerate(dims):
        order = np.argsort(pval[j], kind="stable")
        known = ~np.isnan(pval[j])
        padj = np.full(len(names), np.nan)
        if known.any():
            padj[known] = false_discovery_control(pval[j, known])
        frames.append(
            pd.DataFrame(
                {
                    "dimension": dim,
                    "gene_set": np.asarray(names, dtype=object)[order],
                    "score": score[j, order],
                    "pval": pval[j, order],
                    "padj": padj[order],
                    "n_genes": n_genes[order],
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    table["dimension"] = pd.Categorical(table["dimension"], categories=dims)
    table["gene_set"] = pd.Categorical(table["gene_set"], categories=names)
    table.index = table.index.astype(str)
    return table


def _explained_share(adata: AnnData, key: str, dims: list[str]) -> NDArray[np.float64] | None:
    known = adata.uns.get(key)
    dimensions = known.get("dimensions") if isinstance(known, Mapping) else None
    if not isinstance(dimensions, pd.DataFrame) or list(dimensions.index) != dims:
        return None
    return dimensions["explained_share"].to_numpy(dtype=np.float64)
