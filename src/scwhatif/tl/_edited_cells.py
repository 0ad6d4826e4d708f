"""Cells whose features were edited, encoded anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scwhatif._validation import iter_blocks
from scwhatif.tl._encoder_source import encoder_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        Of edits that draw: the draws of a cell are those of :class:`scwhatif.engine.Screen` with this seed.
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
    item = tuple(perturbation.feature_edits(adata.var_names))
    source = encoder_source(adata, model)
    plan = source.plan
    if plan.signed and library != "original":
        msg = f"library={library!r} is about totals of counts, but this model's features are continuous; leave it out."
        raise ValueError(msg)

    from scwhatif.engine import ItemTable, by_rows, read_rows

    table, x = ItemTable.from_items([item]), by_rows(source.x)
    total, new_total = np.zeros((2, x.shape[0]))
    step = max(1, _BLOCK_ENTRIES // max(x.shape[1], 1))
    found = [(np.zeros(0, np.int64), *[np.zeros((0, plan.n_latent))] * 4)]
    for block in track(range(-(-x.shape[0] // step))):
        first = block * step
        here = slice(first, min(first + step, x.shape[0]))
        chunk = read_rows(x, here)
        edited = table.edit(chunk, first, signed=plan.signed, seed=seed)
        total[here] = np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel()
        gain = edited.after.astype(np.float64) - edited.before
        new_total[here] = total[here] + np.bincount(edited.rows, gain, chunk.shape[0])
        rows, at = np.unique(edited.rows, return_inverse=True)
        if not len(rows):
            continue
        before = chunk[rows].toarray()
        after = before.copy()
        after[at, edited.features] = edited.after
        rows += first
        if library == "renorm":
            # a cell left without any count has no total to be scaled back to
            kept = new_total[rows] > 0
            scale = np.divide(total[rows], new_total[rows], out=np.ones(len(rows)), where=kept)
            after *= scale[:, None].astype(np.float32)
            new_total[rows] *= scale
        fields = {key: each[rows] for key, each in source.fields.items()}
        found.append((rows, *_posterior(plan, before, fields), *_posterior(plan, after, fields)))
    changed, mean, var, new_mean, new_var = (np.concatenate(each) for each in zip(*found, strict=True))
    return EditedCells(changed, mean, var, new_mean, new_var, total, new_total, plan.kind)


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


def _posterior(
    plan: EncoderPlan, x: NDArray[np.float32], fields: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    states = plan.cells(x, fields)
    return states.mean.double().cpu().numpy(), states.var.double().cpu().numpy()
