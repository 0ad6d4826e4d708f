"""Whether a model has stopped using its latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Collapse = Literal["healthy", "partial_collapse", "total_collapse"]


def posterior_collapse(active: ArrayLike) -> Collapse:
    """Judge a latent space by the share of its dimensions that are active.

    Parameters
    ----------
    active
        One truth value per dimension, as ``active`` of :func:`~scwhatif.metrics.latent_usage`.

    Returns
    -------
    ``"total_collapse"``: none is active, all cells have the same code. ``"partial_collapse"``: some are, but fewer
    than half. ``"healthy"``: half or more.

    Raises
    ------
    ValueError
        There are no dimensions, or values are not boolean.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.posterior_collapse([True, True, False, False, False, False])
    'partial_collapse'
    """
    flags = np.asarray(active)
    if flags.ndim != 1 or flags.size == 0 or flags.dtype != bool:
        msg = f"active must hold one truth value per dimension, not {active!r}."
        raise ValueError(msg)
    if not flags.any():
        return "total_collapse"
    return "partial_collapse" if 2 * flags.sum() < flags.size else "healthy"
