"""Whether carriers of each driver differ from others of their stratum as the models say, and how stably."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVEL = 0.05


class DriverTests(NamedTuple):
    """Tests of drivers; every array has one entry per driver, NaN where it was not tested.

    Parameters
    ----------
    statistic
        Difference between carriers and others in the direction of the effect, in standard deviations of the null.
    pval
        p-value.
    selection_probability
        Share of half-samples in which the effect has the same sign and the statistic alone is significant at 5 %.
    """

    statistic: NDArray[np.float64]
    pval: NDArray[np.float64]
    selection_probability: NDArray[np.float64]


class ObservedDifferences(NamedTuple):
    """Differences between carriers and others of their strata; every array has one entry per driver.

    Parameters
    ----------
    observed
        Carriers less others, NaN where no stratum holds both.
    observed_se
        Its standard error.
    df
        Degrees of freedom of the error.
    """

    observed: NDArray[np.float64]
    observed_se: NDArray[np.float64]
    df: NDArray[np.float64]


def observed_differences(
    residuals: NDArray[np.float64], carriers: NDArray[np.float64], strata: NDArray[np.int64]
) -> ObservedDifferences:
    """Compare carriers of each driver with others.

    Parameters
    ----------
    residuals, carriers, strata
        As for :func:`driver_tests`.

    Returns
    -------
    The differences.
    """
    from scwhatif.metrics._stratified_difference import stratified_difference

    found = [stratified_difference(carriers[:, j], residuals[:, [j]], strata=strata) for j in range(carriers.shape[1])]
    return ObservedDifferences(
        np.concatenate([each.difference for each in found]),
        np.concatenate([each.se for each in found]),
        np.concatenate([each.df for each in found]).astype(np.float64),
    )


def driver_tests(
    effects: NDArray[np.float64],
    residuals: NDArray[np.float64],
    carriers: NDArray[np.float64],
    strata: NDArray[np.int64],
    *,
    n_null: int,
    sides: int,
    min_carriers: int,
    seed: int,
) -> DriverTests:
    """Test the direction of the mean effect of each driver on one number per sample.

    Parameters
    ----------
    effects
        Of every driver in every sample, ``(n_samples, n_drivers)``; NaN where it has none.
    residuals
        What was measured less what all other drivers and covariates explain, as far as models say; NaN where nothing
        was measured.
    carriers
        1 where a sample carries a driver, 0 where not, NaN where it was not called.
    strata
        Code of each sample.
    n_null
        Most draws; 0 tests nothing.
    sides
        As for :func:`scwhatif.metrics.holdout_randomization`.
    min_carriers
        Fewest carriers, and fewest others, that are tested.
    seed
        Of draws and halves.

    Returns
    -------
    The tests.
    """
    from scipy.stats import norm

    from scwhatif.metrics import holdout_randomization, selection_probability

    n_drivers = carriers.shape[1]
    found = DriverTests(*(np.full(n_drivers, np.nan) for _ in range(3)))
    if not n_null:
        return found
    direction = np.sign(_mean(effects))
    x = np.where(np.isnan(residuals), np.nan, carriers)
    n_fewer = np.minimum((x == 1).sum(axis=0), (x == 0).sum(axis=0))
    for j in np.flatnonzero((n_fewer >= min_carriers) & np.isfinite(direction)):
        tested = holdout_randomization(
            x[:, j], residuals[:, [j]], direction[[j]], strata=strata, sides=sides, n_null=n_null, seed=seed
        )
        found.statistic[j], found.pval[j] = tested.statistic[0], tested.pval[0]
    tests = np.flatnonzero(np.isfinite(found.pval))
    if len(tests) and len(strata) >= 4:
        least = norm.isf(_LEVEL / sides)
        codes = np.broadcast_to(strata[:, None].astype(np.float64), x.shape)
        scores = np.stack([effects, residuals, x, codes], axis=2)[:, tests]

        def confirmed(half: NDArray[np.float64]) -> NDArray[np.float64]:
            same = np.sign(_mean(half[..., 0])) == direction[tests]
            statistic = direction[tests] * _statistics(half[..., 1], half[..., 2], half[:, 0, 3])
            # a driver that cannot be judged is not selected
            return np.where(same & (statistic > least), statistic, np.nan)

        stable = selection_probability(scores, len(tests), statistic=confirmed, strata=strata, seed=seed)
        found.selection_probability[tests] = stable.probability
    return found


def _statistics(
    residuals: NDArray[np.float64], x: NDArray[np.float64], strata: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum over carriers less its expectation, in standard deviations, driver by driver."""
    from scwhatif.metrics._randomized_driver import RandomizedDriver

    found = np.full(x.shape[1], np.nan)
    for j in range(x.shape[1]):
        driver = RandomizedDriver(x[:, j], strata=strata)
        centred = driver.centre(residuals[:, [j]])
        sd = driver.null_sd(centred)
        if len(driver.rows) and sd[0] > 0:
            found[j] = (driver.deviation @ centred)[0] / sd[0]
    return found


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    return np.where(n > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)
