"""Whether a driver does anything to a whole layer of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scwhatif.metrics._randomized_driver import _MAX_ENTRIES, _ROUNDING, RandomizedDriver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


class HoldoutEnergy(NamedTuple):
    """Result of :func:`holdout_energy`; one entry per group, NaN where nothing can be said.

    Parameters
    ----------
    energy
        Mean square of the standardised statistics of its features; 1 is expected by chance.
    statistic
        The same, in standard deviations above the mean under the null.
    pval
        p-value.
    null
        ``statistic`` of each draw, ``(n_null, n_groups)``; rows are the same draws for all groups.
    """

    energy: NDArray[np.float64]
    statistic: NDArray[np.float64]
    pval: NDArray[np.float64]
    null: NDArray[np.float64]


def holdout_energy(
    x: ArrayLike,
    residuals: Sequence[ArrayLike],
    *,
    strata: ArrayLike | None = None,
    propensity: ArrayLike | None = None,
    n_null: int = 10_000,
    seed: int | np.random.Generator | None = 0,
) -> HoldoutEnergy:
    r"""Test whether a binary driver does anything to each of several groups of features.

    .. math::

        E = \frac{1}{F} \sum_{f=1}^{F} \frac{\bigl(\sum_i (x_i - p_i)\, r_{if}\bigr)^2}{s_f^2}, \qquad
        Z = \frac{E - \mathrm{mean}_\text{null}}{\mathrm{sd}_\text{null}}

    with residuals :math:`r` that do not depend on :math:`x`, and :math:`s_f` the standard deviation of the sum under
    the null. Carriers are drawn anew as in :func:`scwhatif.metrics.holdout_randomization`, the same for all groups, so
    that these may be compared draw by draw. A group does not gain from being large: what features share is in the null
    too.

    Parameters
    ----------
    x
        Who carries the driver, ``(n_samples,)``: 0, 1, or NaN where it was not called.
    residuals
        One array per group, ``(n_samples, n_features)``; NaN where not measured.
    strata, propensity
        As in :func:`scwhatif.metrics.holdout_randomization`.
    n_null
        Number of draws.
    seed
        Seed or generator.

    Returns
    -------
    Energies, with their null.

    Raises
    ------
    ValueError
        Shapes disagree, the driver is not binary, or ``n_null`` is less than 2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(2, size=100)
    >>> moved = rng.normal(size=(100, 5)) + x[:, None] * rng.normal(size=5)
    >>> found = holdout_energy(x, [rng.normal(size=(100, 50)), moved], n_null=999)
    >>> bool(found.pval[0] > 0.05), found.pval[1]
    (True, np.float64(0.001))
    """
    groups = [np.asarray(each, dtype=np.float64) for each in residuals]
    for each in groups:
        if each.ndim != 2 or len(each) != np.size(x):
            msg = f"residuals must be {np.size(x)} samples × features in every group; one is {each.shape}."
            raise ValueError(msg)
    if n_null < 2:
        msg = f"n_null={n_null} must be at least 2."
        raise ValueError(msg)
    driver = RandomizedDriver(x, strata=strata, propensity=propensity)
    units, n_known = [], []
    for each in groups:
        centred = driver.centre(each)
        sd = driver.null_sd(centred)
        units.append((centred[:, sd > 0] / sd[sd > 0]).astype(np.float32))
        n_known.append(np.count_nonzero(sd))
    # where there are more features than samples, all pairs of samples are fewer
    tall = [unit.shape[1] > unit.shape[0] for unit in units]
    units = [unit @ unit.T if is_tall else unit for unit, is_tall in zip(units, tall, strict=True)]

    def energies(deviation: NDArray[np.float32]) -> NDArray[np.float64]:
        products = (deviation @ unit for unit in units)
        sums = [
            np.einsum("ij,ij->i", product, deviation if is_tall else product, dtype=np.float64)
            for product, is_tall in zip(products, tall, strict=True)
        ]
        return np.stack(sums, axis=1) / np.where(n_known, n_known, np.nan)

    observed = energies(driver.deviation.astype(np.float32)[None])[0]
    rng = np.random.default_rng(seed)
    widest = max([len(driver.rows), *(unit.shape[1] for unit in units)], default=1)
    step = max(1, _MAX_ENTRIES // max(widest, 1))
    null = np.concatenate([energies(driver.draw(min(step, n_null - start), rng)) for start in range(0, n_null, step)])
    mean, sd = null.mean(axis=0), null.std(axis=0)
    varies = sd > _ROUNDING
    statistic = np.where(varies, (observed - mean) / np.where(varies, sd, 1.0), np.nan)
    null = np.where(varies, (null - mean) / np.where(varies, sd, 1.0), np.nan)
    pval = (1 + (null >= statistic - _ROUNDING).sum(axis=0)) / (1 + n_null)
    return HoldoutEnergy(observed, statistic, np.where(varies, pval, np.nan), null)
