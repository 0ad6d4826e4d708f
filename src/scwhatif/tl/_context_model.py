"""The energy model and the pairs that a what-if of cell lines is asked of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

# The middle 95 % of draws.
INTERVAL = (2.5, 97.5)


class ContextPairs(NamedTuple):
    """Cell lines of pairs, and which of the lines the model learnt from.

    Attributes
    ----------
    lines
        Name of the cell line of every pair.
    names
        Names of the lines, sorted.
    seen
        Whether the model was trained on labels of each line.
    """

    lines: NDArray[Any]
    names: list[str]
    seen: list[bool]


def context_pairs(adata: AnnData, model: Any, *, n_draws: int) -> ContextPairs:
    """Check model and pairs, and read the cell lines.

    Parameters
    ----------
    adata
        The pairs.
    model
        What was passed as the model.
    n_draws
        Draws of the support.

    Returns
    -------
    The lines.

    Raises
    ------
    KeyError
        ``adata`` lacks the column of cell lines that the model was set up with.
    RuntimeError
        The model is not trained.
    TypeError
        It is no :class:`scwhatif.model.CellLineEnergyModel`.
    ValueError
        It reads no environment, or its best epoch was one of the warm-up; draws are fewer than two, or a cell line is
        missing.
    """
    from scwhatif._validation import check_obs_key

    model = _energy_model(model)
    if model.module.interaction.kind == "none":
        msg = (
            "The model has interaction='none': it reads no environment, so cell lines have no energy and nothing can "
            "be swapped. Train one with interaction='scalar', 'channels' or 'linear'."
        )
        raise ValueError(msg)
    if not model.is_trained:
        msg = "The model is not trained; call train() first."
        raise RuntimeError(msg)
    if not bool(model.module.energy_on):
        msg = (
            "The weights that training kept are of a warm-up epoch, in which no environment is read, so cell lines "
            "have no energy. Train with plan_kwargs={'restore_best': False} to keep the last epoch, or "
            "{'warmup_epochs': 0}."
        )
        raise ValueError(msg)
    if n_draws < 2:
        msg = f"n_draws={n_draws} must be at least 2, or there is no spread over draws."
        raise ValueError(msg)
    key = model.registry["setup_args"]["cell_line_key"]
    check_obs_key(adata, key, "cell_line_key")
    if adata.obs[key].isna().any():
        msg = f"adata.obs[{key!r}] (cell_line_key) is missing for {int(adata.obs[key].isna().sum())} pair(s)."
        raise ValueError(msg)
    lines = adata.obs[key].astype(str).to_numpy(dtype=object).astype(str)
    names = np.unique(lines).tolist()
    return ContextPairs(lines, names, [name in model.lines_trained_ for name in names])


def attributable_pairs(adata: AnnData, model: Any) -> Any:
    """Check model and pairs of which a prediction is to be explained.

    Parameters
    ----------
    adata
        The pairs.
    model
        What was passed as the model.

    Returns
    -------
    The model.

    Raises
    ------
    KeyError
        ``adata`` lacks the column of cell lines that the model was set up with.
    RuntimeError
        The model is not trained.
    TypeError
        It is no :class:`scwhatif.model.CellLineEnergyModel`.
    """
    from scwhatif._validation import check_obs_key

    model = _energy_model(model)
    if not model.is_trained:
        msg = "The model is not trained; call train() first."
        raise RuntimeError(msg)
    check_obs_key(adata, model.registry["setup_args"]["cell_line_key"], "cell_line_key")
    return model


def pair_positions(indices: Sequence[int] | NDArray[Any] | None, n_obs: int) -> NDArray[np.int64]:
    """Positions of the pairs that are asked about.

    Parameters
    ----------
    indices
        Positions or a mask; ``None`` takes all.
    n_obs
        Number of pairs.

    Returns
    -------
    The positions.

    Raises
    ------
    ValueError
        There is none, one is out of range, or comes twice.
    """
    given = np.arange(n_obs) if indices is None else np.asarray(indices)
    if given.dtype == bool and len(given) == n_obs:
        given = np.flatnonzero(given)
    if given.size == 0:
        msg = "indices name no pair."
        raise ValueError(msg)
    if given.ndim != 1 or given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= n_obs:
        msg = f"indices must be positions from 0 to {n_obs - 1}, or a mask of {n_obs} pairs."
        raise ValueError(msg)
    if len(np.unique(given)) < len(given):
        msg = "indices name a pair more than once."
        raise ValueError(msg)
    return given.astype(np.int64)


def _energy_model(model: Any) -> Any:
    from scwhatif.model import CellLineEnergyModel

    if not isinstance(model, CellLineEnergyModel):
        msg = f"model is a {type(model).__name__}, not a CellLineEnergyModel."
        raise TypeError(msg)
    return model
