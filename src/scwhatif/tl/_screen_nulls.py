"""Random perturbations that look like given ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.metrics import matched_neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scwhatif.engine import Item

# How many genes like it each gene of a set may be replaced by.
_POOL = 30


def null_items(
    item: Item,
    covariates: NDArray[np.float64],
    expressed: NDArray[np.bool_],
    n_null: int,
    seed: int,
) -> list[Item]:
    """Replace the genes of a perturbation by genes like them, and leave what is done to them.

    Parameters
    ----------
    item
        The perturbation.
    covariates
        What genes are matched on, ``(n_genes, n_covariates)``.
    expressed
        Genes that may stand in for others, ``(n_genes,)``.
    n_null
        How many random perturbations.
    seed
        The draw depends on it and on the genes: whatever is done to the same genes gets the same stand-ins.

    Returns
    -------
    For a single gene, one perturbation for each of the ``n_null`` genes most like it. For several, each gene is
    replaced by a random one of the 30 most like it, none of them in the perturbation itself and none twice. Fewer than
    ``n_null`` where there are not as many genes.
    """
    genes = np.unique([column for column, _ in item])
    n_genes = len(genes)
    eligible = expressed.copy()
    eligible[genes] = True
    wanted = n_null if n_genes == 1 else _POOL + n_genes
    near = matched_neighbours(covariates, eligible, genes, wanted + n_genes)
    outside = ~np.isin(near, genes)
    # those in the perturbation last, the others in their order
    order = np.argsort(~outside, axis=1, kind="stable")[:, : min(wanted, int(outside.sum(axis=1).min(initial=wanted)))]
    candidates = np.take_along_axis(near, order, axis=1)
    if n_genes == 1:
        drawn = candidates.T
    elif candidates.shape[1] < n_genes:
        return []
    else:
        drawn = _draw_distinct(candidates, n_null, np.random.default_rng([seed, *genes.tolist()]))
    position = {int(gene): i for i, gene in enumerate(genes)}
    return [tuple((int(row[position[column]]), edit) for column, edit in item) for row in drawn]


def _draw_distinct(candidates: NDArray[np.int64], n_draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One candidate for each gene, none twice in a draw, ``(n_draws, n_genes)``."""
    n_genes, n_candidates = candidates.shape
    # near the front where nothing is in the way, further back where many genes compete for the same
    first = min(_POOL, n_candidates)
    pick = rng.integers(first, size=(n_draws, n_genes))
    columns = np.arange(n_genes)
    for _ in range(20 * n_genes):
        drawn = candidates[columns, pick]
        again = _repeated(drawn)
        if not again.any():
            return drawn
        pick[again] = rng.integers(n_candidates, size=int(again.sum()))
    return drawn[~_repeated(drawn).any(axis=1)]


def _repeated(drawn: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Genes that an earlier one of the same draw has taken."""
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=1)
    again = np.zeros(drawn.shape, dtype=bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return again
