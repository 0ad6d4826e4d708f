"""The energy model and the pairs that a what-if of cell lines is asked of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
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
    from scwhatif.model import CellLineEnergyModel

    if not isinstance(model, CellLineEnergyModel):
        msg = f"model is a {type(model).__name__}, not a CellLineEnergyModel."
        raise TypeError(msg)
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
