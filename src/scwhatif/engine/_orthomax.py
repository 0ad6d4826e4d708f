"""Orthogonal rotation of loadings to simple structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def orthomax(
    loadings: NDArray[np.floating], *, gamma: float = 1.0, n_iter: int = 500, tolerance: float = 1e-7
) -> NDArray[np.float64]:
    r"""Rotation that makes each column of the loadings large for few features and small for the rest.

    Maximises :math:`\sum_j \left[\sum_g L_{gj}^4 - \tfrac{\gamma}{G}(\sum_g L_{gj}^2)^2\right]` over orthogonal
    :math:`R` with :math:`L = W R` by the iteration of singular value decompositions :cite:p:`Kaiser1958`; γ = 1 is
    varimax, 0 quartimax.

    Parameters
    ----------
    loadings
        ``(n_features, n_dims)``.
    gamma
        Weight of the penalty on the spread of column norms.
    n_iter
        Largest number of iterations.
    tolerance
        Relative gain of the criterion at which to stop.

    Returns
    -------
    Orthogonal matrix, ``(n_dims, n_dims)``; its columns are the new axes.
    """
    weights = np.asarray(loadings, dtype=np.float64)
    n_features, n_dims = weights.shape
    rotation = np.eye(n_dims)
    previous = 0.0
    for _ in range(n_iter):
        rotated = weights @ rotation
        gradient = rotated**3 - (gamma / n_features) * rotated * (rotated**2).sum(axis=0)
        left, singular, right = np.linalg.svd(weights.T @ gradient)
        rotation = left @ right
        criterion = singular.sum()
        if criterion <= previous * (1 + tolerance):
            break
        previous = criterion
    return rotation
