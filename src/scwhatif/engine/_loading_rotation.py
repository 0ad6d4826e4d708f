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
        ``"varimax"``, ``"quartimax"`` (see :func:`orthomax`), or ``"ica"``: the orthogonal rotation whose columns are
        farthest from Gaussian (FastICA without whitening, started from varimax).
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
    inner = orthomax(block, gamma=0.0 if method == "quartimax" else 1.0)
    if method == "ica":
        inner = inner @ _fast_ica(block @ inner)
    rotation[np.ix_(chosen, chosen)] = inner
    return rotation


def _fast_ica(loadings: NDArray[np.float64]) -> NDArray[np.float64]:
    from sklearn.decomposition import fastica
    from sklearn.exceptions import ConvergenceWarning

    n_dims = loadings.shape[1]
    # one common scale: whitening would turn the rotation into an oblique one
    scaled = loadings / loadings.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, unmixing, _ = fastica(scaled, whiten=False, w_init=np.eye(n_dims), max_iter=500)
    left, _, right = np.linalg.svd(unmixing.T)
    return left @ right
