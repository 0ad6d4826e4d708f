"""How much each latent dimension tells about the cell it was inferred from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Entries of a block of (draws, components): 2M float64 are 16 MiB.
_BLOCK_ENTRIES = 2**21


def latent_information(
    mean: ArrayLike, var: ArrayLike, *, n_mixture: int = 1000, seed: int | np.random.Generator | None = 0
) -> NDArray[np.float64]:
    r"""Mutual information of cells and each latent dimension, in nats.

    The KL that a dimension is charged is information plus the distance of the aggregate posterior
    :math:`q(z_j) = \frac1N \sum_n q(z_j | x_n)` from the prior :cite:p:`Hoffman2016`,

    .. math:: \mathrm{E}_x\, KL(q(z_j | x)\,\|\,p) = I(x; z_j) + KL(q(z_j)\,\|\,p), \quad p = N(0, 1),

    so a dimension may be charged much and tell nothing, as when every cell has the same posterior. The information is
    the Monte Carlo mean of :math:`\log q(z_j | x) - \log q(z_j)` over one (stratified) draw per cell, with
    ``n_mixture`` cells, drawn without replacement, as the components of :math:`q(z_j)`. Between a dimension and M cells
    it cannot exceed :math:`\log M`, 6.9 nats for 1000, and is underestimated close to it.

    Parameters
    ----------
    mean, var
        Posterior mean and variance, ``(n_cells, n_dims)``; variances positive.
    n_mixture
        Most cells to use; time grows with its square.
    seed
        Seed or generator of the cells used and of the draws; ``None`` draws a fresh one.

    Returns
    -------
    ``(n_dims,)``, between 0 and the mean KL.

    Raises
    ------
    ValueError
        Shapes differ, values are not finite, a variance is not positive, or ``n_mixture`` is below 2.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> mean = np.column_stack([np.repeat([-3.0, 3.0], 500), np.full(1000, 3.0)])
    >>> wi.metrics.latent_information(mean, np.full((1000, 2), 0.01)).round(2)
    array([0.69, 0.  ])
    """
    means, variances = read_posterior(mean, var)
    if n_mixture < 2:
        msg = f"n_mixture={n_mixture} must be at least 2."
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    if len(means) > n_mixture:
        used = np.sort(rng.choice(len(means), n_mixture, replace=False))
        means, variances = means[used], variances[used]
    noise = _stratified_normal(means.shape, rng)
    found = np.empty(means.shape[1])
    for j in range(means.shape[1]):
        mu, v = means[:, j].astype(np.float64), variances[:, j].astype(np.float64)
        own = -0.5 * noise[:, j] ** 2 - 0.5 * np.log(v)
        information = np.mean(own - _log_mixture(mu + np.sqrt(v) * noise[:, j], mu, v))
        found[j] = np.clip(information, 0.0, gaussian_kl(mu, v).mean())
    return found


def read_posterior(mean: ArrayLike, var: ArrayLike) -> tuple[NDArray, NDArray]:
    """Posterior means and variances as arrays that can be computed with.

    Parameters
    ----------
    mean, var
        ``(n_cells, n_dims)``.

    Returns
    -------
    Both as they are stored.

    Raises
    ------
    ValueError
        Shapes differ, there is no cell or dimension, values are not finite, or a variance is not positive.
    """
    means, variances = np.asarray(mean), np.asarray(var)
    if means.ndim != 2 or means.shape != variances.shape or 0 in means.shape:
        msg = f"mean and var must both have shape (n_cells, n_dims), not {means.shape} and {variances.shape}."
        raise ValueError(msg)
    if not (np.isfinite(means).all() and np.isfinite(variances).all()):
        msg = "mean and var must be finite; a model that returns NaN or infinity has diverged."
        raise ValueError(msg)
    if not (variances > 0).all():
        msg = f"var must be positive; the smallest is {variances.min():g}."
        raise ValueError(msg)
    return means, variances


def gaussian_kl(mean: NDArray[np.float64], var: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""KL divergence of :math:`N(\mu, \sigma^2)` from :math:`N(0, 1)`, elementwise.

    Parameters
    ----------
    mean, var
        Of any one shape.

    Returns
    -------
    Nats, same shape.
    """
    return 0.5 * (mean**2 + var - 1.0 - np.log(var))


def _stratified_normal(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Standard normal columns with one value in each of ``shape[0]`` equally likely intervals: less noise in means."""
    from scipy.special import ndtri

    intervals = rng.permuted(np.tile(np.arange(shape[0])[:, None], shape[1]), axis=0)
    return ndtri((intervals + rng.uniform(size=shape)) / shape[0])


def _log_mixture(z: NDArray[np.float64], mean: NDArray[np.float64], var: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-density, without the constant, of the equal mixture of Gaussians at each ``z``."""
    from scipy.special import logsumexp

    log_scale = 0.5 * np.log(var)
    step = max(1, _BLOCK_ENTRIES // len(mean))
    blocks = [
        logsumexp(-0.5 * (z[i : i + step, None] - mean) ** 2 / var - log_scale, axis=1) for i in range(0, len(z), step)
    ]
    return np.concatenate(blocks) - math.log(len(mean))
