"""What decodes from the codes of cells before and after they are moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.tl._edited_cells import cell_totals
from scwhatif.tl._latent_state import change as profile_change
from scwhatif.tl._latent_state import change_name, fold_pseudo_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.model._decoder import Decoder
    from scwhatif.tl._latent_change import CellGroups, LatentChange

_BLOCK_ENTRIES = 2**22


@dataclass(frozen=True, eq=False)
class CellContext:
    """With what each cell's code is decoded: its own batch, covariates and library size.

    Parameters
    ----------
    fields
        Batch and covariates by registry key, one row per cell.
    library
        Size factor where the model has one, else the total over the features; 1 for continuous features.
    scaled
        Whether ``library`` is a size factor, which an edit does not change.
    """

    fields: dict[str, NDArray[Any]]
    library: NDArray[np.float64]
    scaled: bool

    @classmethod
    def read(cls, adata: AnnData, model: BaseModelClass, decoder: Decoder) -> CellContext:
        """Read what ``adata`` is registered with.

        Parameters
        ----------
        adata, model
            Data and model.
        decoder
            The model's decoder.

        Returns
        -------
        The context.
        """
        from scvi import REGISTRY_KEYS

        from scwhatif._compat import registered_data

        data = registered_data(model, adata)
        read = (REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.CAT_COVS_KEY, REGISTRY_KEYS.CONT_COVS_KEY)
        fields = {key: data.fields[key] for key in read if key in data.fields}
        # minified data hold no counts, but what they added up to
        given = [key for key in (REGISTRY_KEYS.SIZE_FACTOR_KEY, REGISTRY_KEYS.OBSERVED_LIB_SIZE) if key in data.fields]
        if not decoder.plan.log_link:
            library = np.ones(adata.n_obs)
        elif given:
            library = np.asarray(data.fields[given[0]], dtype=np.float64).ravel()
        else:
            library = cell_totals(data.x)
        return cls(fields, library, REGISTRY_KEYS.SIZE_FACTOR_KEY in given)


@dataclass(frozen=True, eq=False)
class DecodedChange:
    """Mean expected features of groups of cells before and after; made by :func:`decode_change`.

    Parameters
    ----------
    before, after
        ``(n_names, n_vars)``.
    cells
        Expected features of every cell after, ``(n_cells, n_vars)``, where asked for.
    pseudo_count
        What is added to counts before ratios are taken, ``None`` for continuous features.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    cells: NDArray[np.float32] | None
    pseudo_count: float | None


def decode_change(
    decoder: Decoder,
    context: CellContext,
    change: LatentChange,
    groups: CellGroups,
    *,
    new_library: NDArray[np.float64] | None = None,
    keep_cells: bool = False,
    track: Callable[[range], Iterable[int]] = iter,
) -> DecodedChange:
    """Decode all cells, and those that moved a second time.

    Parameters
    ----------
    decoder
        The model's decoder.
    context
        With what each cell is decoded.
    change
        Codes before and after.
    groups
        Groups to average over.
    new_library
        Library sizes after, where they are others.
    keep_cells
        Whether to keep the features of every cell.
    track
        Wraps the iteration over chunks of cells.

    Returns
    -------
    The means, and the cells.
    """
    import torch

    n_cells, n_vars = len(change.z), len(decoder.features)
    after = change.z + change.shift
    changed = change.changed
    if new_library is not None:
        changed = changed | (new_library != context.library)
    sums = np.zeros((2, len(groups.names), n_vars))
    cells = np.empty((n_cells, n_vars), dtype=np.float32) if keep_cells else None

    def decoded(z: NDArray[np.float64], library: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        fields = {key: each[rows] for key, each in context.fields.items()}
        with torch.inference_mode():
            mean = decoder.plan.mean(torch.from_numpy(z[rows].astype(np.float32)), library[rows], fields)
        return mean.cpu().numpy()

    step = max(1, _BLOCK_ENTRIES // n_vars)
    starts = range(0, n_cells, step)
    for start in track(starts):
        rows = np.arange(start, min(start + step, n_cells))
        profiles = decoded(change.z, context.library, rows)
        sums[0] += groups.sums(profiles, rows)
        moved = changed[rows]
        if moved.any():
            library = context.library if new_library is None else new_library
            profiles[moved] = decoded(after, library, rows[moved])
        sums[1] += groups.sums(profiles, rows)
        if cells is not None:
            cells[rows] = profiles
    before, later = sums / groups.sizes[:, None]
    return DecodedChange(before, later, cells, fold_pseudo_count(decoder, float(context.library.mean())))


def check_readout(n_top: int, *, decode: bool, layer_added: str | None) -> None:
    """Raise ``ValueError`` unless what is to be read out is sound."""
    if n_top < 1:
        msg = f"n_top={n_top} must be at least 1."
        raise ValueError(msg)
    if layer_added is not None and not decode:
        msg = f"layer_added={layer_added!r} holds decoded features, so it needs decode=True."
        raise ValueError(msg)


def decoded_readout(
    adata: AnnData,
    model: BaseModelClass,
    decoder: Decoder,
    change: LatentChange,
    groups: CellGroups,
    *,
    columns: NDArray[np.int64],
    new_total: NDArray[np.float64] | None = None,
    n_top: int,
    keep_cells: bool,
    track: Callable[[range], Iterable[int]] = iter,
) -> tuple[pd.DataFrame, DecodedChange]:
    """Decode what happened to cells, each with its own batch, covariates and library size, and list what changes most.

    Parameters
    ----------
    adata, model, decoder, change, groups
        What happened, to which cells, in which model.
    columns
        Features that were edited.
    new_total
        Totals of the edited cells, to be decoded with; ``None`` decodes with those they had.
    n_top, keep_cells, track
        As for :func:`gene_table` and :func:`decode_change`.

    Returns
    -------
    The table, and the means behind it.

    Raises
    ------
    ValueError
        There are new totals, but the model decodes with size factors.
    """
    context = CellContext.read(adata, model, decoder)
    if new_total is not None and context.scaled:
        msg = (
            "library='perturbed': the model decodes with size factors that were registered, which an edit of counts "
            "does not change. Use 'original' or 'renorm'."
        )
        raise ValueError(msg)
    decoded = decode_change(decoder, context, change, groups, new_library=new_total, keep_cells=keep_cells, track=track)
    return gene_table(decoded, groups, decoder.features, columns, n_top), decoded


def gene_table(
    decoded: DecodedChange, groups: CellGroups, features: pd.Index, edited: NDArray[np.int64], n_top: int
) -> pd.DataFrame:
    """Features whose mean changes most in each group, edited ones apart.

    Parameters
    ----------
    decoded
        Means before and after.
    groups
        Their groups.
    features
        Names.
    edited
        Positions of the features that were edited.
    n_top
        How many of those edited, and how many of the others.

    Returns
    -------
    One row per group and feature: ``group``, ``gene``, ``edited``, ``before``, ``after``, ``log2_fold_change`` or
    ``difference``. Within a group the features that were not edited come first, those that change most first.
    """
    is_edited = np.zeros(len(features), dtype=bool)
    is_edited[edited] = True
    name = change_name(decoded.pseudo_count)
    frames = []
    for group, before, after in zip(groups.names, decoded.before, decoded.after, strict=True):
        by = profile_change(after, before, decoded.pseudo_count)
        order = np.argsort(-np.abs(by), kind="stable")
        top = np.concatenate([order[~is_edited[order]][:n_top], order[is_edited[order]][:n_top]])
        frames.append(
            pd.DataFrame(
                {
                    "group": group,
                    "gene": np.asarray(features, dtype=object)[top],
                    "edited": is_edited[top],
                    "before": before[top],
                    "after": after[top],
                    name: by[top],
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    table["group"] = pd.Categorical(table["group"], categories=groups.names)
    table.index = table.index.astype(str)
    return table
