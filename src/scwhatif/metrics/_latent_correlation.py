"""What dimensions of a representation share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class LatentCorrelation:
    """Result of :func:`latent_correlation`.

    Parameters
    ----------
    matrix
        Pearson correlations, ``(n_dims, n_dims)``.
    largest
        Largest absolute correlation of two dimensions; 0 where there are none to compare.
    total_correlation
        Nats; 0 for uncorrelated dimensions, infinite where one is a linear combination of others.
    """

    matrix: NDArray[np.float64]
    largest: float
    total_correlation: float


def latent_correlation(z: ArrayLike) -> LatentCorrelation:
    r"""Linear dependence that is left between the dimensions of a representation.

    The total correlation :math:`KL(q(z)\,\|\,\prod_j q(z_j))` of a Gaussian with correlation matrix :math:`R` is

    .. math:: -\tfrac12 \log\det R,

    which for any other distribution counts the linear part only :cite:p:`Watanabe1960`.

    Parameters
    ----------
    z
        ``(n_cells, n_dims)``, finite, every dimension with some variance: leave dead ones out.

    Returns
    -------
    Matrix and its two summaries.

    Raises
    ------
    ValueError
        The shape is another, there are fewer than two cells, values are not finite, or a dimension is constant.

    Examples
    --------
    >>> import scwhatif as wi
    >>> found = wi.metrics.latent_correlation([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    >>> round(found.largest, 3), round(found.total_correlation, 3)
    (0.577, 0.203)
    """
    values = np.asarray(z, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        msg = f"z must have shape (n_cells, n_dims) with at least two cells, not {values.shape}."
        raise ValueError(msg)
    if not np.isfinite(values).all():
        msg = "z must be finite; leave out cells with missing or infinite values."
        raise ValueError(msg)
    centred = values - values.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    constant = np.flatnonzero(np.ptp(values, axis=0) == 0)
    if constant.size:
        msg = f"dimension(s) {constant.tolist()} are constant and correlate with nothing; leave them out."
        raise ValueError(msg)
    unit = centred / norm
    matrix = np.clip(unit.T @ unit, -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    off_diagonal = np.abs(matrix[~np.eye(len(matrix), dtype=bool)])
    # rounding may take an eigenvalue of zero below it
    eigenvalues = np.linalg.eigvalsh(matrix)
    singular = eigenvalues.size > 0 and eigenvalues[0] < len(matrix) * np.finfo(np.float64).eps
    total = np.inf if singular else max(0.0, -0.5 * float(np.log(eigenvalues).sum()))
    return LatentCorrelation(matrix, float(off_diagonal.max(initial=0.0)), total)
