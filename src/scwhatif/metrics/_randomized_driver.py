"""Carriers of a driver drawn anew, with everything else about the samples left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

# Null statistics at a time, and numbers in a draw of carriers at a time: 64 MiB in single precision.
_MAX_ENTRIES = 2**24
# Largest difference by which rounding lets the same carriers differ from themselves, in standard deviations.
_ROUNDING = 1e-4


class RandomizedDriver:
    """A binary driver that may be drawn anew, by shuffling within strata or from given probabilities.

    Parameters
    ----------
    x
        Who carries the driver, ``(n_samples,)``: 0, 1, or NaN where it was not called.
    strata
        Group of each sample; ``None`` is one group.
    propensity
        Probability of each sample to carry it given everything else. ``None`` shuffles carriers within strata, which
        keeps their number in each.

    Attributes
    ----------
    rows
        Positions of samples that tell anything: called, and in a stratum of carriers and others or with a propensity.

    Raises
    ------
    ValueError
        Something is of another length, the driver is not binary, or a propensity is not within (0, 1).
    """

    def __init__(self, x: ArrayLike, *, strata: ArrayLike | None = None, propensity: ArrayLike | None = None) -> None:
        values = np.asarray(x, dtype=np.float64)
        called = ~np.isnan(values)
        if values.ndim != 1 or not np.isin(values[called], (0.0, 1.0)).all():
            msg = "x must be one-dimensional and hold nothing but 0, 1 and NaN."
            raise ValueError(msg)
        for name, given in (("strata", strata), ("propensity", propensity)):
            if given is not None and np.shape(given) != values.shape:
                msg = f"{name} has shape {np.shape(given)}; one entry for each of the {len(values)} samples is needed."
                raise ValueError(msg)
        codes = np.zeros(len(values), dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
        self.shuffled = propensity is None
        if propensity is None:
            n_called = np.bincount(codes[called], minlength=codes.max(initial=0) + 1)
            n_carriers = np.bincount(codes[called], values[called], minlength=len(n_called))
            probability = (n_carriers / np.maximum(n_called, 1))[codes]
            self.rows = np.flatnonzero(called & (probability > 0) & (probability < 1))
        else:
            probability = np.asarray(propensity, dtype=np.float64)
            if not ((probability[called] > 0) & (probability[called] < 1)).all():
                msg = "propensity must lie within (0, 1) wherever the driver was called."
                raise ValueError(msg)
            self.rows = np.flatnonzero(called)
        # samples of a stratum next to each other, so that shuffling works on blocks
        self.rows = self.rows[np.argsort(codes[self.rows], kind="stable")]
        self._x = values[self.rows]
        self._p = probability[self.rows]
        self._codes = np.unique(codes[self.rows], return_inverse=True)[1]
        self._sizes = np.bincount(self._codes)

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Carrier or not, less the probability, ``(n_rows,)``."""
        return self._x - self._p

    def centre(self, residuals: ArrayLike) -> NDArray[np.float64]:
        """Residuals of the rows, less their mean in the stratum; 0 where not measured.

        Parameters
        ----------
        residuals
            ``(n_samples, n_features)``, NaN where not measured.

        Returns
        -------
        ``(n_rows, n_features)``.
        """
        values = np.asarray(residuals, dtype=np.float64)[self.rows]
        measured = ~np.isnan(values)
        values[~measured] = 0.0
        weight = np.ones_like(self._p) if self.shuffled else self._p * (1 - self._p)
        total = self._by_stratum(weight[:, None] * measured)
        mean = self._by_stratum(weight[:, None] * values) / np.where(total > 0, total, 1.0)
        values -= mean[self._codes]
        values[~measured] = 0.0
        return values

    def null_sd(self, centred: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exact standard deviation of the sum over carriers, when these are drawn anew.

        Parameters
        ----------
        centred
            As :meth:`centre` returns them, weighted or not.

        Returns
        -------
        ``(n_features,)``.
        """
        if not self.shuffled:
            return np.sqrt((self._p * (1 - self._p)) @ np.square(centred))
        n = self._sizes.astype(np.float64)
        carriers = np.bincount(self._codes, self._x, minlength=len(n))
        mean = self._by_stratum(centred) / n[:, None]
        spread = self._by_stratum(np.square(centred)) - n[:, None] * np.square(mean)
        return np.sqrt(np.maximum((carriers * (n - carriers) / (n * np.maximum(n - 1, 1))) @ spread, 0.0))

    def draw(self, n_draws: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw carriers anew.

        Parameters
        ----------
        n_draws
            How often.
        rng
            Generator.

        Returns
        -------
        What :attr:`deviation` is then, ``(n_draws, n_rows)``.
        """
        p = self._p.astype(np.float32)
        if not self.shuffled:
            return (rng.random((n_draws, len(p)), dtype=np.float32) < p).astype(np.float32) - p
        drawn = np.empty((n_draws, len(p)), dtype=np.float32)
        ends = np.cumsum(self._sizes)
        for start, end in zip(ends - self._sizes, ends, strict=True):
            block = np.tile((self._x - self._p)[start:end].astype(np.float32), (n_draws, 1))
            drawn[:, start:end] = rng.permuted(block, axis=1, out=block)
        return drawn

    def _by_stratum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(values):
            return np.zeros((0, values.shape[1]))
        return np.add.reduceat(values, np.cumsum(self._sizes) - self._sizes, axis=0)


def exceedance_pvalues(
    observed: NDArray[np.float64],
    null: Callable[[int, NDArray[np.int64]], NDArray[np.floating]],
    n_rows: int,
    *,
    n_null: int,
    n_first: int,
    stop_after: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Share of null statistics at least as large, with more of them the rarer that is.

    After ``n_first`` draws, and after ten times as many and so on up to ``n_null``, statistics that were reached
    ``stop_after`` times are done :cite:p:`Besag1991`.

    Parameters
    ----------
    observed
        Statistics in units of their null standard deviation, ``(n_items,)``; NaN for none.
    null
        Takes a number of draws and which items are wanted, returns ``(n_draws, n_wanted)``.
    n_rows
        Numbers that a draw needs besides.
    n_null, n_first, stop_after
        As above.

    Returns
    -------
    (1 + k) / (1 + n) for k of n draws, NaN for no statistic, and n.
    """
    exceeded = np.zeros(len(observed), dtype=np.int64)
    n_drawn = np.zeros(len(observed), dtype=np.int64)
    active = np.flatnonzero(np.isfinite(observed))
    done, goal = 0, min(n_first, n_null)
    while len(active):
        while done < goal:
            n = min(goal - done, max(1, _MAX_ENTRIES // max(n_rows, len(active))))
            exceeded[active] += (null(n, active) >= observed[active] - _ROUNDING).sum(axis=0)
            done += n
        n_drawn[active] = done
        if done >= n_null:
            break
        active = active[exceeded[active] < stop_after]
        goal = min(10 * goal, n_null)
    pval = np.where(np.isfinite(observed), (1 + exceeded) / (1 + n_drawn), np.nan)
    return pval, n_drawn
