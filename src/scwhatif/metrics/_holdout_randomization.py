"""Whether held-out data confirm what a model says a driver does to each feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scwhatif.metrics._randomized_driver import RandomizedDriver, exceedance_pvalues

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class HoldoutRandomization(NamedTuple):
    """Result of :func:`holdout_randomization`; every array has one entry per feature, NaN where nothing can be said.

    Parameters
    ----------
    statistic
        In units of its standard deviation under the null.
    pval
        p-value.
    n_null
        Number of draws it took.
    """

    statistic: NDArray[np.float64]
    pval: NDArray[np.float64]
    n_null: NDArray[np.int64]


def holdout_randomization(
    x: ArrayLike,
    residuals: ArrayLike,
    effect: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    propensity: ArrayLike | None = None,
    sides: int = 1,
    n_null: int = 100_000,
    n_first: int = 1000,
    stop_after: int = 20,
    seed: int | np.random.Generator | None = 0,
) -> HoldoutRandomization:
    r"""Test predicted effects of a binary driver on samples that the prediction has not seen.

    .. math:: T_f = \sum_i e_{if}\, (x_i - p_i)\, r_{if}

    with the effect :math:`e` that a model predicts, residuals :math:`r` of what was measured, and the probability
    :math:`p` of a sample to carry the driver. Sign and weight come from the model and the data only have to agree, so
    the test is one-sided. The model stays as it is while carriers :math:`x` are drawn anew, which is valid because it
    was fitted to other samples: the holdout randomization test :cite:p:`Tansey2022`. Carriers are shuffled within
    strata, or, given ``propensity``, drawn from their conditional distribution :cite:p:`Candes2018`. ``residuals`` must
    not depend on :math:`x`; leave out what a model predicts with the driver set to 0 in every sample. Of the features,
    1 000 draws are made of all and more only of those that few draws reached (see ``stop_after``), so that p-values
    small enough for a correction over very many features take seconds.

    In a cross-validation, the sign for a fold was learned from the other folds, which are tested too, and small
    one-sided p-values come up twice as often as they should. Then pass the sign that the models agree on as ``effect``
    and ``sides=2``: a doubled p-value in a direction chosen from the same data holds whatever the choice.

    Parameters
    ----------
    x
        Who carries the driver, ``(n_samples,)``: 0, 1, or NaN where it was not called.
    residuals
        ``(n_samples, n_features)``; NaN where not measured. Their means in the strata are taken off.
    effect
        Of switching the driver on, ``(n_features,)`` or ``(n_samples, n_features)``. A feature with no effect has no
        p-value.
    strata
        Group of each sample, such as its lineage. Samples of groups of nothing but carriers, or none, tell nothing.
    propensity
        Probability of each sample to carry the driver given all else, such as
        :func:`scwhatif.metrics.driver_propensity` gives.
    sides
        1, or 2 to double p-values.
    n_null
        Most draws.
    n_first, stop_after
        Features that at least ``stop_after`` of the first ``n_first`` draws reach, or of ten times as many and so on,
        are left at that :cite:p:`Besag1991`.
    seed
        Seed or generator.

    Returns
    -------
    Statistics, p-values and numbers of draws.

    Raises
    ------
    ValueError
        Shapes disagree, the driver is not binary, or a number is out of range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(2, size=200)
    >>> residuals = rng.normal(size=(200, 3))
    >>> residuals[:, 1] -= 0.8 * x
    >>> found = holdout_randomization(x, residuals, effect=[0.5, -0.7, 0.1])
    >>> found.pval.argmin(), bool(found.pval[1] < 1e-4), found.n_null
    (np.int64(1), True, array([  1000, 100000,   1000]))
    """
    values, weight = np.asarray(residuals, dtype=np.float64), np.asarray(effect, dtype=np.float64)
    if values.ndim != 2 or len(values) != np.size(x) or weight.shape not in (values.shape, values.shape[1:]):
        msg = (
            "x must be (n_samples,), residuals (n_samples, n_features), effect (n_features,) or like residuals; got "
            f"{np.shape(x)}, {values.shape}, {weight.shape}."
        )
        raise ValueError(msg)
    if sides not in (1, 2) or min(n_null, n_first, stop_after) < 1:
        msg = f"sides={sides} must be 1 or 2, and n_null={n_null}, n_first={n_first}, stop_after={stop_after} positive."
        raise ValueError(msg)
    driver = RandomizedDriver(x, strata=strata, propensity=propensity)
    weighted = driver.centre(values) * (weight[driver.rows] if weight.ndim == 2 else weight)
    sd = driver.null_sd(weighted)
    known = sd > 0
    unit = np.where(known, weighted / np.where(known, sd, 1.0), 0.0)
    statistic = np.where(known, driver.deviation @ unit, np.nan)
    rng = np.random.default_rng(seed)
    single = unit.astype(np.float32)

    def null(n_draws: int, wanted: NDArray[np.int64]) -> NDArray[np.floating]:
        return driver.draw(n_draws, rng) @ (single if len(wanted) == single.shape[1] else single[:, wanted])

    pval, n_drawn = exceedance_pvalues(
        statistic, null, len(driver.rows), n_null=n_null, n_first=n_first, stop_after=stop_after
    )
    return HoldoutRandomization(statistic, np.minimum(sides * pval, 1.0), n_drawn)
