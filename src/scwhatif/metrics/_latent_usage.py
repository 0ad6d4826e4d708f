"""Which latent dimensions a model uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scwhatif.metrics._latent_information import gaussian_kl, latent_information, read_posterior

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# A dimension is active above both.
ACTIVE_KL: Final = 0.1
ACTIVE_VARIANCE: Final = 0.01


def latent_usage(
    mean: ArrayLike | pd.DataFrame,
    var: ArrayLike | pd.DataFrame,
    *,
    n_mixture: int = 1000,
    seed: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    r"""What each latent dimension is charged, and what it tells, from the posteriors of cells.

    A dimension is ``active`` if the variance over cells of its posterior mean is above 0.01 :cite:p:`Burda2016` and its
    mean KL is above 0.1 nats. Both are on the scale of the prior N(0, 1): a dead dimension may well separate groups
    perfectly when it is blown up to fill a plot, and ranks or AUC see no difference. The KL alone would not do either:
    it is large also where all cells share a posterior away from the prior.

    Parameters
    ----------
    mean, var
        Posterior mean and variance, ``(n_cells, n_dims)``; variances positive.
    n_mixture, seed
        As in :func:`~scwhatif.metrics.latent_information`.

    Returns
    -------
    One row per dimension, named as the columns of ``mean`` where it has names, else ``z0``, ``z1`` …

    ``kl`` : float64
        KL of the posterior from N(0, 1) in nats, mean over cells.
    ``variance`` : float64
        Variance over cells of the posterior mean.
    ``mutual_information`` : float64
        Of cells and dimension, nats (:func:`~scwhatif.metrics.latent_information`).
    ``prior_gap`` : float64
        The rest of the KL: distance of the aggregate posterior from N(0, 1), nats.
    ``active`` : bool

    Raises
    ------
    ValueError
        Shapes differ, values are not finite, a variance is not positive, or ``n_mixture`` is below 2.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> rng = np.random.default_rng(0)
    >>> mean, var = rng.normal(size=(500, 2)) * [0.95, 0.01], np.full((500, 2), [0.1, 1.0])
    >>> wi.metrics.latent_usage(mean, var).round(2)
          kl  variance  mutual_information  prior_gap  active
    z0  1.14      0.87                1.13       0.01    True
    z1  0.00      0.00                0.00       0.00   False
    """
    names = [str(name) for name in mean.columns] if isinstance(mean, pd.DataFrame) else None
    means, variances = read_posterior(mean, var)
    # dimension by dimension: double precision of one column only
    kl, spread = kl_and_spread(means, variances)
    information = np.minimum(latent_information(means, variances, n_mixture=n_mixture, seed=seed), kl)
    return pd.DataFrame(
        {
            "kl": kl,
            "variance": spread,
            "mutual_information": information,
            "prior_gap": kl - information,
            "active": is_active(kl, spread),
        },
        index=pd.Index(names or [f"z{j}" for j in range(means.shape[1])]),
    )


def kl_and_spread(mean: NDArray, var: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """KL from N(0, 1) and variance of the means of each dimension, in double precision one dimension at a time.

    Parameters
    ----------
    mean, var
        Posterior mean and variance, ``(n_cells, n_dims)``.

    Returns
    -------
    Both ``(n_dims,)``.
    """
    kl, spread = np.empty(mean.shape[1]), np.empty(mean.shape[1])
    for j in range(mean.shape[1]):
        mu = mean[:, j].astype(np.float64)
        kl[j], spread[j] = gaussian_kl(mu, var[:, j].astype(np.float64)).mean(), mu.var()
    return kl, spread


def is_active(kl: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether dimensions are active, see :func:`latent_usage`.

    Parameters
    ----------
    kl, spread
        From :func:`kl_and_spread`.

    Returns
    -------
    ``(n_dims,)``.
    """
    return (kl > ACTIVE_KL) & (spread > ACTIVE_VARIANCE)
