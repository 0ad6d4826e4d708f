"""Share of the variance of a layer that held-out predictions explain, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONFIDENCE = 0.95
_TIE = 1e-12


@dataclass(frozen=True, eq=False)
class Score:
    r"""R² of every feature, split over the units (folds, or samples) that it comes from.

    Pooled over everything held out, :math:`R^2_j = 1 - \sum_u E_{uj} / \sum_u T_{uj}` with the squared errors
    :math:`E` and those of the reference :math:`T` in each unit. The part of unit :math:`u` among :math:`U` is
    :math:`R^2_j + U \, ((1 - R^2_j) \, T_{uj} - E_{uj}) / \sum_u T_{uj}`: parts average to :math:`R^2_j`, and their
    spread says how uncertain it is, as for any ratio of sums.

    Attributes
    ----------
    value
        ``(n_features,)``; NaN for a feature that does not vary.
    parts
        ``(n_units, n_features)``.
    """

    value: NDArray[np.float64]
    parts: NDArray[np.float64]

    def __sub__(self, other: Score) -> Score:
        return Score(self.value - other.value, self.parts - other.parts)

    @property
    def mean(self) -> Score:
        """Mean over features, as a score of a single one."""
        known = np.isfinite(self.value)
        if not known.any():
            return Score(np.full(1, np.nan), np.full((len(self.parts), 1), np.nan))
        return Score(self.value[known].mean(keepdims=True), self.parts[:, known].mean(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A layer in the samples that models are asked about, one below the other.

    Attributes
    ----------
    truth
        Measured values less the mean of the training samples, ``(n_rows, n_features)``.
    observed
        Which entries were measured.
    unit
        Unit that each row belongs to, from 0.
    stratum
        Rows of the same stratum may change places under the null hypothesis.
    """

    truth: NDArray[np.float64]
    observed: NDArray[np.bool_]
    unit: NDArray[np.int64]
    stratum: NDArray[np.int64]

    def score(
        self,
        predicted: NDArray[np.float64],
        *,
        reference: NDArray[np.float64] | float = 0.0,
        used: NDArray[np.bool_] | None = None,
    ) -> Score:
        """R² of predictions against a reference.

        Parameters
        ----------
        predicted
            As ``truth``.
        reference
            What the errors are compared with; the training mean by default.
        used
            Entries to look at, besides being measured; broadcast to ``truth``.

        Returns
        -------
        The score.
        """
        seen = self.observed if used is None else self.observed & used
        error = self._by_unit(np.where(seen, self.truth - predicted, 0.0) ** 2)
        total = self._by_unit(np.where(seen, self.truth - reference, 0.0) ** 2)
        all_total = total.sum(axis=0)
        varies = all_total > 0
        denominator = np.where(varies, all_total, np.nan)
        value = 1.0 - error.sum(axis=0) / denominator
        return Score(value, value + len(error) * ((1.0 - value) * total - error) / denominator)

    def pvalues(
        self,
        predicted: NDArray[np.float64],
        *,
        n_permutations: int,
        rng: np.random.Generator,
        reference: NDArray[np.float64] | float = 0.0,
        used: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float64], float]:
        """How often predictions do as well for rows of the layer that changed places within their stratum.

        The models never saw these samples, so they need no refitting: the predictions are frozen, and only the truth
        is permuted.

        Parameters
        ----------
        predicted, reference, used
            As in :meth:`score`.
        n_permutations
            Number of permutations; 0 for none.
        rng
            Source of the permutations.

        Returns
        -------
        p-values of the features and of the mean over features; NaN where there is none.
        """
        if not n_permutations:
            return np.full(self.truth.shape[1], np.nan), float("nan")
        seen = self.observed if used is None else self.observed & used
        # a row that takes no part must not lend its place to one that does
        rows = np.flatnonzero(seen.any(axis=1))
        seen = seen[rows]
        rest = np.broadcast_to(np.asarray(reference, dtype=np.float64), self.truth.shape)[rows]
        truth = np.where(seen, self.truth[rows] - rest, 0.0)
        guess = predicted[rows] - rest
        total = np.square(truth).sum(axis=0)
        varies = total > 0
        scale = np.where(varies, total, np.nan)
        guess_squared, weight = guess**2, seen.astype(np.float64)
        order = np.argsort(self.stratum[rows], kind="stable")
        sorted_strata = self.stratum[rows][order]

        def gain(permuted: NDArray[np.int64]) -> NDArray[np.float64]:
            """R² is this, once the sum of squares of the truth, which stays, is taken out."""
            cross = np.einsum("ij,ij->j", truth[permuted], guess)
            return (2 * cross - np.einsum("ij,ij->j", weight[permuted], guess_squared)) / scale

        observed = gain(np.arange(len(rows)))
        as_large = np.zeros(len(total))
        mean_as_large = 0
        permuted = np.empty(len(rows), dtype=np.int64)
        for _ in range(n_permutations):
            permuted[order] = order[np.lexsort((rng.random(len(rows)), sorted_strata))]
            null = gain(permuted)
            as_large += null >= observed - _TIE
            mean_as_large += np.nanmean(null) >= np.nanmean(observed) - _TIE if varies.any() else 0
        pval = np.where(varies, (1 + as_large) / (1 + n_permutations), np.nan)
        return pval, (1 + mean_as_large) / (1 + n_permutations) if varies.any() else float("nan")

    def _by_unit(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.zeros((int(self.unit.max()) + 1, values.shape[1]))
        np.add.at(sums, self.unit, values)
        return sums


def score_interval(
    score: Score, sizes: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Standard error and 95 % interval of every feature of a score.

    Parameters
    ----------
    score
        The score.
    sizes
        Number of training and of test samples of a unit: those of the folds, whose training samples overlap
        (:func:`scwhatif.metrics.nadeau_bengio_interval`), or infinite and 1 where units are samples, which do not.

    Returns
    -------
    Standard error, low and high end, ``(n_features,)``; NaN from a single unit.
    """
    from scipy.stats import t

    from scwhatif.metrics import nadeau_bengio_interval

    _, low, high = nadeau_bengio_interval(score.parts.T, n_train=sizes[0], n_test=sizes[1], confidence=_CONFIDENCE)
    quantile = t.ppf((1 + _CONFIDENCE) / 2, max(len(score.parts) - 1, 1))
    return (high - low) / 2 / quantile, low, high
