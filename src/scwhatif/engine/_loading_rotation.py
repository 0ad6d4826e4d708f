"""The rotations a linear factor model can be read in."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from scwhatif.engine._orthomax import orthomax

if TYPE_CHECKING:
    from numpy.typing import NDArray

RotationMethod = Literal["varimax", "quartimax", "ica"]


def loading_rotation(
    loadings: NDArray[np.floating],
    method: RotationMethod = "varimax",
    *,
    active: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Orthogonal rotation of the active dimensions by the structure of their loadings.

    Parameters
    ----------
    loadings
        ``(n_features, n_dims)``, centred where a constant per column is meaningless.
    method
        ``"varimax"``, ``"quartimax"`` (see :func:`orthomax`), or ``"ica"``: the orthogonal rotation nearest to the
        independent components of the loadings (FastICA).
    active
        Dimensions to rotate among themselves, ``(n_dims,)``; the rest stay. ``None`` is all.

    Returns
    -------
    Orthogonal matrix, ``(n_dims, n_dims)``.

    Raises
    ------
    ValueError
        The method is not known, or loadings are not finite.
    """
    if method not in get_args(RotationMethod):
        msg = f"method={method!r} is not one of {get_args(RotationMethod)}, or None for the trained axes."
        raise ValueError(msg)
    if not np.isfinite(loadings).all():
        msg = "the loadings hold NaN or infinite values."
        raise ValueError(msg)
    n_dims = loadings.shape[1]
    chosen = np.flatnonzero(np.ones(n_dims, dtype=bool) if active is None else active)
    rotation = np.eye(n_dims)
    if len(chosen) < 2:
        return rotation
    block = np.asarray(loadings, dtype=np.float64)[:, chosen]
    inner = _independent(block) if method == "ica" else orthomax(block, gamma=0.0 if method == "quartimax" else 1.0)
    rotation[np.ix_(chosen, chosen)] = inner
    return rotation


def _independent(loadings: NDArray[np.float64]) -> NDArray[np.float64]:
    from sklearn.decomposition import fastica
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whitening, unmixing, _ = fastica(
            loadings, whiten="unit-variance", w_init=np.eye(loadings.shape[1]), max_iter=1000
        )
    # whitening stretches the axes, and only an orthogonal change of axes keeps the prior: take the nearest one
    left, _, right = np.linalg.svd((unmixing @ whitening).T)
    return left @ right
