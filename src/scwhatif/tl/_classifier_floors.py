"""What tells edited cells from others without a model: a few numbers per cell, read off the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy import sparse

from scwhatif._validation import check_choices, is_fractional, iter_blocks

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

ClassifierFloor = Literal["majority", "library", "gene_sets", "integrality"]
GeneSets = Mapping[str, Sequence[str]]


def check_floors(floors: Sequence[ClassifierFloor], *, has_sets: bool) -> list[ClassifierFloor]:
    """Raise ``ValueError`` for an unknown floor.

    Parameters
    ----------
    floors
        Names of floors.
    has_sets
        Whether there are gene sets; ``"gene_sets"`` is left out without.

    Returns
    -------
    The same in the order in which they are reported, each once.

    Raises
    ------
    ValueError
        A name is unknown.
    """
    wanted = check_choices(floors, get_args(ClassifierFloor), name="floors")
    return [floor for floor in wanted if has_sets or floor != "gene_sets"]


def gene_columns(adata: AnnData, gene_sets: GeneSets) -> dict[str, NDArray[np.int64]]:
    """Find the columns of each gene set.

    Parameters
    ----------
    adata
        The cells.
    gene_sets
        Name → genes, as in ``var_names``.

    Returns
    -------
    Name → columns, each once, in the order given.

    Raises
    ------
    TypeError
        ``gene_sets`` is no mapping of lists.
    KeyError
        A gene is not there.
    ValueError
        There is no set, or one without genes.
    """
    if not isinstance(gene_sets, Mapping) or any(isinstance(genes, str) for genes in gene_sets.values()):
        msg = "gene_sets must map names to lists of genes, such as {'down': ['STMN2', 'NEFL']}."
        raise TypeError(msg)
    empty = [name for name, genes in gene_sets.items() if not len(genes)]
    if empty or not gene_sets:
        msg = f"gene_sets holds no genes for {empty}." if empty else "gene_sets is empty; pass None for no sets."
        raise ValueError(msg)
    columns = {}
    for name, genes in gene_sets.items():
        found = adata.var_names.get_indexer(list(dict.fromkeys(genes)))
        missing = [gene for gene, at in zip(dict.fromkeys(genes), found, strict=True) if at < 0]
        if missing:
            shown = ", ".join(map(repr, missing[:5])) + (", …" if len(missing) > 5 else "")
            msg = (
                f"gene_sets[{name!r}] has {len(missing)} gene(s) that are not in adata.var_names: {shown}. Take those "
                "that are, with scwhatif.pp.match_genes(adata, genes).var_names."
            )
            raise KeyError(msg)
        columns[name] = found.astype(np.int64)
    return columns


def floor_features(
    x: Any, floors: Sequence[ClassifierFloor], columns: Mapping[str, NDArray[np.int64]], *, name: str
) -> dict[str, NDArray[np.float64]]:
    """Read the numbers of each floor off the counts, in one or two streamed passes.

    Parameters
    ----------
    x
        Cells × genes, not negative: array, sparse or backed matrix.
    floors
        From :func:`check_floors`. ``"library"``: log of the cell's total. ``"gene_sets"``: mean log-normalised
        expression of each set. ``"integrality"``: whether any count of the cell is fractional. ``"majority"`` reads
        nothing.
    columns
        From :func:`gene_columns`; empty without gene sets.
    name
        What to call the matrix in errors.

    Returns
    -------
    Floor → cells × numbers.

    Raises
    ------
    ValueError
        The matrix holds negative values, or fractional ones in every cell.
    """
    wanted = [floor for floor in floors if floor != "majority"]
    if not wanted:
        return {}
    totals, fractional = _totals(x, name)
    features: dict[str, NDArray[np.float64]] = {}
    for floor in wanted:
        if floor == "library":
            features[floor] = np.log1p(totals)[:, None]
        elif floor == "gene_sets":
            features[floor] = _set_scores(x, totals, columns)
        else:
            features[floor] = fractional[:, None].astype(np.float64)
    return features


def _totals(x: Any, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Sum of each cell, and whether it holds a fraction."""
    totals, fractional = np.zeros(x.shape[0]), np.zeros(x.shape[0], dtype=bool)
    for row, _, block in iter_blocks(x):
        rows = slice(row, row + block.shape[0])
        values = block.data if sparse.issparse(block) else block
        if values.size and values.min() < 0:
            msg = (
                f"{name} holds negative values, so it is not counts. Name the layer with the counts, or pass floors=[]."
            )
            raise ValueError(msg)
        totals[rows] += np.asarray(block.sum(axis=1), dtype=np.float64).ravel()
        off = is_fractional(values)
        if sparse.issparse(block):
            marked = type(block)((off, block.indices, block.indptr), shape=block.shape)
            fractional[rows] |= np.asarray(marked.sum(axis=1)).ravel() > 0
        else:
            fractional[rows] |= off.any(axis=1)
    if fractional.all():
        msg = (
            f"{name} holds fractional values in every cell, so it is not counts (normalised data?), and floors cannot "
            "be read off it. Name the layer with the counts, or pass floors=['majority']."
        )
        raise ValueError(msg)
    return totals, fractional


def _set_scores(x: Any, totals: NDArray[np.float64], columns: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Mean over each set of log1p of counts scaled to the median total, ``(n_cells, n_sets)``."""
    scale = np.median(totals[totals > 0]) / np.where(totals > 0, totals, 1.0)
    genes = np.unique(np.concatenate(list(columns.values())))
    scores = np.zeros((len(totals), len(columns)))
    for row, col, block in iter_blocks(x):
        rows = slice(row, row + block.shape[0])
        here = genes[(genes >= col) & (genes < col + block.shape[1])]
        values = block[:, here - col]
        values = np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)
        logged = np.log1p(values * scale[rows, None])
        for i, members in enumerate(columns.values()):
            scores[rows, i] += logged[:, np.isin(here, members)].sum(axis=1) / len(members)
    return scores
