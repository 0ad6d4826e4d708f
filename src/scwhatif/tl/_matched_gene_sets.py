"""Random gene sets that look like given ones, to tell what is special about these from what any genes would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif._validation import check_at_least_one, check_counts, check_layer, iter_blocks
from scwhatif.metrics import matched_neighbours
from scwhatif.tl._classifier_floors import GeneSets, gene_columns
from scwhatif.tl._screen_settings import check_match_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.tl._screen_table import Covariate

# Cells on which an encoder is checked before its weights are believed.
_CHECKED_CELLS = 32


def matched_gene_sets(
    adata: AnnData,
    gene_sets: GeneSets,
    *,
    model: BaseModelClass | None = None,
    match_on: Sequence[Covariate] = ("mean", "detection"),
    n_sets: int = 200,
    n_neighbors: int = 20,
    layer: str | None = None,
    seed: int = 0,
) -> list[dict[str, list[str]]]:
    """Draw random gene sets of the same sizes from genes of like expression.

    Whatever is done to a hundred well expressed genes moves a latent code and lets a classifier tell edited cells
    from others. Whether *these* genes matter shows only beside as many genes like them: edit each draw as the sets
    themselves, encode, and hand the codes to :func:`scwhatif.tl.latent_classifier` as ``null_reps``.

    Parameters
    ----------
    adata
        Cells before any edit.
    gene_sets
        Name → genes, as in ``var_names``.
    model
        The model that encodes the cells; only needed to match on ``"weight"``.
    match_on
        What genes are matched on: ``"mean"`` (log mean expression), ``"detection"`` (share of cells expressing the
        gene), ``"weight"`` (log length of the gene's weights in the encoder's first layer). Matching on the weight
        takes away what the encoder learned of a gene's importance, and asks only about the direction.
    n_sets
        Number of draws.
    n_neighbors
        Each gene is replaced by one of so many that are most alike and not yet taken in the draw.
    layer
        Layer with the counts; ``None`` is ``X``.
    seed
        Seed of the draws.

    Returns
    -------
    One dict per draw, name → genes, in the order of ``gene_sets``. No gene of any of the sets is drawn, and none
    twice; a gene that is in several sets is replaced by the same one in each.

    Raises
    ------
    KeyError
        A gene or the layer does not exist.
    TypeError
        ``gene_sets`` is no mapping of lists.
    ValueError
        The data are not counts; a set is empty; too few genes are left to draw from; a number or ``match_on`` is out
        of range; ``"weight"`` without a model, or with one whose encoder has no weights per gene.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 200, 4, n_cell_types=3)
    >>> draws = wi.tl.matched_gene_sets(adata, {"down": ["gene_3", "gene_8"], "up": ["gene_5"]}, n_sets=3)
    >>> [(len(draw["down"]), len(draw["up"])) for draw in draws]
    [(2, 1), (2, 1), (2, 1)]
    """
    _check_settings(match_on, n_sets=n_sets, n_neighbors=n_neighbors, has_model=model is not None)
    columns = gene_columns(adata, gene_sets)
    members = np.unique(np.concatenate(list(columns.values())))
    n_free = adata.n_vars - len(members)
    if n_free < len(members) + n_neighbors:
        msg = (
            f"gene_sets hold {len(members)} of {adata.n_vars} genes, which leaves {n_free} to draw as many from with "
            f"n_neighbors={n_neighbors}; use data with more genes, smaller sets, or fewer neighbours."
        )
        raise ValueError(msg)
    check_layer(adata, layer)
    x = adata.X if layer is None else adata.layers[layer]
    check_counts(x, name="adata.X" if layer is None else f"adata.layers[{layer!r}]")
    covariates = _covariates(x)
    if "weight" in match_on:
        covariates["weight"] = _log_weight(adata, model)
    table = np.column_stack([covariates[each] for each in match_on])
    near = _candidates(table, members, n_neighbors)

    names = adata.var_names.to_numpy()
    draws = []
    for index in range(n_sets):
        drawn = _draw(near, n_neighbors, np.random.default_rng([seed, index]))
        chosen = {name: names[drawn[np.searchsorted(members, genes)]] for name, genes in columns.items()}
        draws.append({name: [str(gene) for gene in genes] for name, genes in chosen.items()})
    return draws


def _check_settings(match_on: Sequence[str], *, n_sets: int, n_neighbors: int, has_model: bool) -> None:
    check_match_on(match_on)
    if "weight" in match_on and not has_model:
        msg = "match_on='weight' needs the model whose encoder reads the genes; pass model=."
        raise ValueError(msg)
    check_at_least_one(n_sets=n_sets, n_neighbors=n_neighbors)


def _covariates(x: Any) -> dict[str, NDArray[np.float64]]:
    n_cells, n_genes = x.shape
    total, n_nonzero = np.zeros((2, n_genes))
    for _, col, block in iter_blocks(x):
        here = slice(col, col + block.shape[1])
        total[here] += np.asarray(block.sum(axis=0), dtype=np.float64).ravel()
        n_nonzero[here] += np.asarray((block != 0).sum(axis=0)).ravel()
    # half a count stands in for genes never seen
    return {"mean": np.log((total + 0.5) / n_cells), "detection": n_nonzero / n_cells}


def _log_weight(adata: AnnData, model: Any) -> NDArray[np.float64]:
    """Of the encoder's first layer, for each gene."""
    from scwhatif._compat import registered_data
    from scwhatif.engine import encoder_plan

    data = registered_data(model, adata[:_CHECKED_CELLS].copy())
    norm = encoder_plan(model.module, data.x, data.fields).weight_norm
    if norm is None:
        msg = f"the encoder of {type(model).__name__} has no weights per gene to match on; leave 'weight' out."
        raise ValueError(msg)
    # no gene without weights may stand at minus infinity
    return np.log(np.maximum(norm, norm[norm > 0].min(initial=1.0)))


def _candidates(covariates: NDArray[np.float64], members: NDArray[np.int64], n_neighbors: int) -> NDArray[np.int64]:
    """Genes outside the sets most like each member, nearest first, enough for any draw, ``(n_members, n)``."""
    everything = np.ones(len(covariates), dtype=bool)
    wanted = n_neighbors + len(members)
    near = matched_neighbours(covariates, everything, members, wanted + len(members))
    outside = ~np.isin(near, members)
    # at most as many as there are members, less the gene itself, were members
    first = np.argsort(~outside, axis=1, kind="stable")[:, :wanted]
    return np.take_along_axis(near, first, axis=1)


def _draw(near: NDArray[np.int64], n_neighbors: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One gene for each member, none twice."""
    drawn = np.full(len(near), -1)
    # in random order, so that none has always the first choice
    for i in rng.permutation(len(near)):
        free = near[i][~np.isin(near[i], drawn)]
        drawn[i] = rng.choice(free[:n_neighbors])
    return drawn
