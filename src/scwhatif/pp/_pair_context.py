"""Where a pair stands among the other candidates of its promoter and of its enhancer."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import _listed, check_choices, check_layer, check_obs_key
from scwhatif.pp._chrom_names import check_chrom_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

End = Literal["promoter", "enhancer"]

_PLACES: dict[str, tuple[str, str]] = {
    "promoter": (Key.obs.PROMOTER_START, Key.obs.PROMOTER_END),
    "enhancer": (Key.obs.ENHANCER_START, Key.obs.ENHANCER_END),
}
# Share of the loci with several candidates in which a feature must differ to be ranked: fewer are slips of rounding.
_DIFFERS = 0.01


def pair_context(
    adata: AnnData,
    *,
    ends: Sequence[End] = ("promoter", "enhancer"),
    features: Mapping[str, Sequence[str]] | None = None,
    counts: bool = True,
    cell_line_key: str = Key.obs.CELL_LINE,
    chrom_key: str = Key.obs.CHROM,
    layer: str | None = None,
) -> AnnData:
    """Add features that compare a pair with the other candidates of its promoter and of its enhancer in its line.

    Enhancers compete for a promoter, so how near and how strongly marked one is may say less than whether it is the
    nearest and the most strongly marked. Within each cell line, pairs of the same promoter are ranked by every feature,
    the distance among them, and so are pairs of the same enhancer; and the candidates of both are counted.

    No label is read, and nothing passes from one cell line to another or, as all candidates of a locus lie on one
    chromosome, from one chromosome to another. So it may be done before pairs are split by line and chromosome. It is
    transductive, as ranking within a line is: it reads the features of all candidates, those to be predicted too.

    **It also reads which pairs are candidates.** Where these were chosen by the outcome of the experiment, their ranks
    and numbers tell of the outcome. In BENGI nearly every enhancer has a partner among its candidates, because
    enhancers without one were left out; the fewer candidates an enhancer has there, the likelier is each, which holds
    for no enhancer that comes without such a choice. Then use ``ends=["promoter"]``.

    Parameters
    ----------
    adata
        Pairs × features with ``obs["enhancer_start"]``, ``obs["enhancer_end"]``, ``obs["promoter_start"]`` and
        ``obs["promoter_end"]``, as from :func:`scwhatif.pp.pairs_from_table`. It is not changed.
    ends
        What candidates have in common: the ``"promoter"``, the ``"enhancer"``, or each in turn.
    features
        Names of the features to rank among the candidates of each of ``ends``; ``None`` takes all that differ between
        candidates (a mark at the promoter is the same for all candidates of the promoter). For pairs that come later,
        pass what was taken before, ``uns["pair_context"]["features"]``.
    counts
        Whether to add the numbers of candidates.
    cell_line_key, chrom_key
        Columns of ``obs`` with the cell line and the chromosome.
    layer
        Layer with the features to rank; ``X`` otherwise.

    Returns
    -------
    AnnData, pairs × more features. ``obs``, ``obsm``, ``obsp`` and ``uns`` are those of ``adata``; ``varm`` and
    ``varp`` are not carried over. Added are

    ``X``, and every layer, float32
        ``"promoter_rank|<feature>"`` and ``"enhancer_rank|<feature>"``: share of the candidates with a measured value
        that lie below, ties in their middle; NaN where not measured. ``"promoter_candidates"`` and
        ``"enhancer_candidates"``: their number.
    ``var``
        Rows of these; a rank has the annotation of the feature that it is the rank of.
    ``uns["pair_context"]["features"]`` : dict
        Names that were ranked, by end.
    ``uns["pair_context"]["params"]`` : dict
        Arguments, versions.

    Raises
    ------
    KeyError
        ``obs`` lacks a column, or there is no such layer or feature.
    ValueError
        A cell line or chromosome is missing, chromosomes are named in two ways, ``ends`` are none or others than these
        two, ``features`` are not by these ends, or the added features are there already.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(2, 2, 10, n_marks=1)
    >>> wider = wi.pp.pair_context(adata)
    >>> wider.var_names[adata.n_vars :].tolist()[:3]
    ['promoter_rank|mark_0|enhancer', 'promoter_rank|mark_0|window', 'promoter_rank|log10_distance']
    >>> wider.to_df()["promoter_candidates"].head(3).tolist()
    [5.0, 5.0, 5.0]
    """
    from anndata import AnnData

    check_layer(adata, layer)
    wanted_ends = check_choices(list(ends), get_args(End), name="ends")
    if not wanted_ends:
        msg = f"ends must hold at least one of {list(get_args(End))}."
        raise ValueError(msg)
    if features is not None:
        _check_features(adata, features, wanted_ends)
    columns = _loci(adata, wanted_ends, cell_line_key, chrom_key)
    x = _dense(adata.X if layer is None else adata.layers[layer])
    blocks: list[NDArray[Any]] = []
    # of each added feature, the name and the feature that it is the rank of
    origins: dict[str, str | None] = {}
    ranked_by_end = {}
    for end, locus in columns.items():
        wanted = adata.var_names if features is None else pd.Index(list(features[end]), dtype=object)
        values = x[:, adata.var_names.get_indexer(wanted)]
        if features is None:
            # what all candidates of a locus have in common gives no rank
            differs = _differs(values, locus)
            wanted, values = wanted[differs], values[:, differs]
        ranked_by_end[end] = wanted.to_numpy(dtype=object).astype(str)
        blocks.append(_ranks(values, locus))
        origins |= {f"{end}_rank|{name}": str(name) for name in wanted}
        if counts:
            blocks.append(np.bincount(locus)[locus][:, None])
            origins[f"{end}_candidates"] = None
    twice = [name for name in origins if name in adata.var_names]
    if twice:
        msg = f"adata has the feature(s) {_listed(twice)} already; rank the features it had before, not these."
        raise ValueError(msg)

    added = np.hstack(blocks).astype(np.float32)
    names = pd.Index([*adata.var_names, *origins])
    made = AnnData(
        np.hstack([_dense(adata.X), added]),
        obs=adata.obs.copy(),
        var=adata.var.reindex(pd.Index([*adata.var_names, *origins.values()], dtype=object)).set_axis(names),
        # scvi-tools keeps its books by these, and the features have changed
        uns=deepcopy({name: value for name, value in adata.uns.items() if not name.startswith("_scvi")}),
        obsm={name: value.copy() for name, value in adata.obsm.items()},
        obsp={name: value.copy() for name, value in adata.obsp.items()},
        # the newest anndata lists X among the layers, under None
        layers={name: np.hstack([_dense(values), added]) for name, values in adata.layers.items() if name is not None},
    )
    made.uns[Key.uns.PAIR_CONTEXT] = {
        "features": ranked_by_end,
        Key.uns.PARAMS: params(
            ends=list(wanted_ends), counts=counts, cell_line_key=cell_line_key, chrom_key=chrom_key, layer=layer
        ),
    }
    return made


def _loci(adata: AnnData, ends: Sequence[str], cell_line_key: str, chrom_key: str) -> dict[str, NDArray[np.int64]]:
    """Number of the locus of each pair by end, counted within cell lines."""
    for name, column in {"cell_line_key": cell_line_key, "chrom_key": chrom_key}.items():
        check_obs_key(adata, column, name)
        if adata.obs[column].isna().any():
            msg = f"adata.obs[{column!r}] ({name}) is missing for {int(adata.obs[column].isna().sum())} pair(s)."
            raise ValueError(msg)
    for end in ends:
        for column in _PLACES[end]:
            check_obs_key(adata, column, column)
    check_chrom_names(set(adata.obs[chrom_key].astype(str)), f"adata.obs[{chrom_key!r}]")
    by = {end: [cell_line_key, chrom_key, *_PLACES[end]] for end in ends}
    return {end: adata.obs.groupby(by[end], observed=True, sort=False).ngroup().to_numpy() for end in ends}


def _check_features(adata: AnnData, features: Mapping[str, Sequence[str]], ends: Sequence[str]) -> None:
    if set(features) != set(ends):
        msg = f"features are given for {sorted(features)}, and ends={list(ends)}; give some for each of these."
        raise ValueError(msg)
    for end, names in features.items():
        missing = [name for name in names if name not in adata.var_names]
        if missing:
            msg = f"features[{end!r}] names {_listed(missing)}, which adata.var_names does not hold."
            raise KeyError(msg)


def _dense(x: Any) -> NDArray[np.float32]:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=np.float32)


def _ranks(x: NDArray[np.float32], locus: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the measured values of the locus that lie below, ties in their middle."""
    by_locus = pd.DataFrame(x).groupby(locus)
    return ((by_locus.rank() - 0.5) / by_locus.transform("count")).to_numpy(dtype=np.float64)


def _differs(x: NDArray[np.float32], locus: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Features that are not the same for all candidates of a locus."""
    by_locus = pd.DataFrame(x).groupby(locus)
    several = (by_locus.size() > 1).to_numpy()
    if not several.any():
        return np.zeros(x.shape[1], dtype=bool)
    return ((by_locus.max() > by_locus.min())[several].mean() > _DIFFERS).to_numpy()
