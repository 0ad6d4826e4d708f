"""Cells whose features were edited, encoded anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from scwhatif._validation import iter_blocks
from scwhatif.tl._encoder_source import encoder_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.engine import EncoderPlan
    from scwhatif.perturbation import Perturbation

Library = Literal["original", "perturbed", "renorm"]

# Entries of the dense shape per chunk of cells.
_BLOCK_ENTRIES = 2**22


@dataclass(frozen=True, eq=False)
class EditedCells:
    """What an encoder makes of the cells that a perturbation changes, in the axes it was trained in.

    Parameters
    ----------
    rows
        The cells changed, ascending.
    mean, var
        Their posterior before the edit, ``(n_rows, n_latent)``.
    new_mean, new_var
        Their posterior after it.
    total, new_total
        Sum over the features of every cell before and after, ``(n_obs,)``.
    kind
        Kind of the encoder plan.
    """

    rows: NDArray[np.int64]
    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    new_mean: NDArray[np.float64]
    new_var: NDArray[np.float64]
    total: NDArray[np.float64]
    new_total: NDArray[np.float64]
    kind: str


def encode_edited(
    adata: AnnData,
    model: BaseModelClass,
    perturbation: Perturbation,
    *,
    library: Library,
    seed: int,
    track: Callable[[range], Iterable[int]] = iter,
) -> EditedCells:
    """Carry out the feature edits of a perturbation on the registered data, and encode the cells that change.

    Parameters
    ----------
    adata, model
        Data and model.
    perturbation
        With at least one feature edit.
    library
        With ``"renorm"``, edited cells are scaled back to the total they had.
    seed
        Of edits that draw.
    track
        Wraps the iteration over chunks of cells.

    Returns
    -------
    The cells changed.

    Raises
    ------
    ValueError
        The data are minified, or values may be negative and are to be rescaled.
    KeyError
        A feature is not in the data.
    """
    columns = np.unique([column for column, _ in perturbation.feature_edits(adata.var_names)])
    source = encoder_source(adata, model)
    plan = source.plan
    x = source.x.tocsr() if sparse.issparse(source.x) else source.x
    if plan.signed and library != "original":
        msg = f"library={library!r} is about totals of counts, but this model's features are continuous; leave it out."
        raise ValueError(msg)

    chunks = [slice(start, stop) for start, stop in _ranges(*x.shape)]
    total = cell_totals(x)
    was = sparse.vstack([sparse.csr_matrix(_block(x, rows)[:, columns]) for rows in chunks], format="csr")
    edited = perturbation.apply_features(was, adata.var_names[columns], seed, clip=not plan.signed)
    changed = np.asarray((edited != was).sum(axis=1)).ravel() > 0
    new_total = total + np.asarray((edited - was).sum(axis=1), dtype=np.float64).ravel()
    # a cell left without any count has no total to be scaled back to
    scale = np.divide(total, new_total, out=np.ones_like(total), where=new_total > 0)
    if library != "renorm":
        scale[:] = 1.0

    nothing = np.zeros((0, plan.n_latent))
    found = [[nothing] * 4]
    for i in track(range(len(chunks))):
        rows = np.arange(chunks[i].start, chunks[i].stop)[changed[chunks[i]]]
        if not len(rows):
            continue
        fields = {key: each[rows] for key, each in source.fields.items()}
        before = _dense(_block(x, chunks[i])[rows - chunks[i].start])
        after = before.copy()
        after[:, columns] = edited[rows].toarray()
        after *= scale[rows, None].astype(np.float32)
        found.append([part for cells in (before, after) for part in _posterior(plan, cells, fields)])
    mean, var, new_mean, new_var = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if library == "renorm":
        new_total = new_total * scale
    return EditedCells(np.flatnonzero(changed), mean, var, new_mean, new_var, total, new_total, plan.kind)


def check_changed(edited: EditedCells, perturbation: Perturbation) -> None:
    """Raise ``ValueError`` if a perturbation leaves all cells as they are, naming the features."""
    if not len(edited.rows):
        names = ", ".join(map(repr, perturbation.features[:5]))
        msg = (
            f"{perturbation} changes no cell: {names} already has that value in every one of them. Name features that "
            "are expressed."
        )
        raise ValueError(msg)


def cell_totals(x: Any) -> NDArray[np.float64]:
    """Sum over the features of every cell, of a matrix in memory, on disk or in dask.

    Parameters
    ----------
    x
        Cells × features.

    Returns
    -------
    ``(n_cells,)``.
    """
    totals = np.zeros(x.shape[0])
    for row, _, block in iter_blocks(x):
        totals[row : row + block.shape[0]] += np.asarray(block.sum(axis=1), dtype=np.float64).ravel()
    return totals


def _ranges(n_cells: int, n_features: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK_ENTRIES // max(n_features, 1))
    return ((start, min(start + step, n_cells)) for start in range(0, n_cells, step))


def _block(x: Any, rows: slice) -> Any:
    """Rows of a matrix in memory, on disk or in dask, as array or CSR."""
    block = x[rows]
    if hasattr(block, "compute"):
        block = block.compute()
    return block.tocsr() if sparse.issparse(block) else np.asarray(block)


def _dense(block: Any) -> NDArray[np.float32]:
    dense = block.toarray() if sparse.issparse(block) else np.array(block)
    return dense.astype(np.float32, copy=False)


def _posterior(
    plan: EncoderPlan, x: NDArray[np.float32], fields: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    states = plan.cells(x, fields)
    return states.mean.double().cpu().numpy(), states.var.double().cpu().numpy()
