"""How often something is among the best when half of the samples are drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


class SelectionProbability(NamedTuple):
    """Result of :func:`selection_probability`.

    Parameters
    ----------
    probability
        Share of the halves in which an item is selected, ``(n_items,)``.
    simultaneous
        Share of the pairs in both halves of which it is selected, ``(n_items,)``.
    n_top
        Number of items selected in every half.
    """

    probability: NDArray[np.float64]
    simultaneous: NDArray[np.float64]
    n_top: int

    def expected_false(self, threshold: float) -> float:
        r"""Bound on how many items are called that a half selects no more often than chance.

        :math:`q^2 / \bigl((2 \tau - 1)\, p\bigr)` for :math:`q` of :math:`p` items selected in every half and those
        called whose probability is at least :math:`\tau`; holds without any assumption on the statistic.

        Parameters
        ----------
        threshold
            :math:`\tau`, above .5 and at most 1.

        Returns
        -------
        Expected number.

        Raises
        ------
        ValueError
            ``threshold`` is out of range.
        """
        if not 0.5 < threshold <= 1:
            msg = f"threshold={threshold} must be above .5 and at most 1."
            raise ValueError(msg)
        return self.n_top**2 / ((2 * threshold - 1) * len(self.probability))


def selection_probability(
    scores: ArrayLike,
    n_top: int = 1,
    *,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    strata: ArrayLike | None = None,
    n_pairs: int = 50,
    seed: int | np.random.Generator | None = 0,
) -> SelectionProbability:
    """Share of complementary half-samples in which an item is among the top ones :cite:p:`Shah2013`.

    Being on top in every fold of a cross-validation says little: folds share most of their samples, so an item that is
    on top by accident stays there. Halves of a pair share no sample.

    Use it on what a tool knows of every sample: the effect of each driver in each carrier that the sample's own
    out-of-fold model gives, or the score of each layer. Nothing is fitted anew, so this is the stability of a ranking
    over samples, given the models; with models fitted anew on each half, pass their scores to ``statistic`` yourself.

    Parameters
    ----------
    scores
        What each sample says of each item, ``(n_samples, n_items)``, or with more axes behind for ``statistic`` to
        reduce; NaN where it says nothing.
    n_top
        Number of items selected in every half: those with the largest statistic. Ties are decided at random.
    statistic
        Takes the rows of a half, returns one number per item, NaN for an item that cannot be judged, which is then not
        selected. ``None`` is the absolute value of the mean over the samples that are not NaN.
    strata
        Group of each sample; halves hold equal shares of every group.
    n_pairs
        Number of pairs of halves.
    seed
        Seed or generator.

    Returns
    -------
    The probabilities, and :meth:`SelectionProbability.expected_false` to choose a threshold by.

    Raises
    ------
    ValueError
        There are fewer than four samples, ``n_top`` or ``n_pairs`` is out of range, or ``strata`` is of another length.

    Examples
    --------
    >>> effects = np.random.default_rng(0).normal(size=(60, 20))
    >>> effects[:, 3] += 1
    >>> stable = selection_probability(effects, n_top=2)
    >>> stable.probability.argmax(), stable.probability[3]
    (np.int64(3), np.float64(1.0))
    >>> round(stable.expected_false(0.9), 2)
    0.25
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim < 2 or len(values) < 4:
        msg = f"scores has shape {values.shape}; at least 4 samples × items are needed."
        raise ValueError(msg)
    n_samples, n_items = values.shape[:2]
    if not 1 <= n_top <= n_items:
        msg = f"n_top={n_top} must be between 1 and the number of items, {n_items}."
        raise ValueError(msg)
    if n_pairs < 1:
        msg = f"n_pairs={n_pairs} must be at least 1."
        raise ValueError(msg)
    groups = np.zeros(n_samples, dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    if len(groups) != n_samples:
        msg = f"strata has {len(groups)} entries for {n_samples} samples."
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    judge = _absolute_mean if statistic is None else statistic
    selected = np.zeros((n_pairs, 2, n_items), dtype=bool)
    for pair in selected:
        # a random order, sorted by group: every second sample makes a half
        order = rng.permutation(n_samples)
        order = order[np.argsort(groups[order], kind="stable")]
        for half in (0, 1):
            found = np.asarray(judge(values[order[half::2]]), dtype=np.float64)
            known = np.where(np.isnan(found), -np.inf, found)
            ranked = np.lexsort(np.stack([rng.random(n_items), known]))[::-1][:n_top]
            pair[half, ranked[~np.isnan(found[ranked])]] = True
    return SelectionProbability(selected.mean(axis=(0, 1)), selected.all(axis=1).mean(axis=0), n_top)


def _absolute_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    return np.where(n > 0, np.abs(np.where(known, values, 0.0).sum(axis=0)) / np.maximum(n, 1), np.nan)
