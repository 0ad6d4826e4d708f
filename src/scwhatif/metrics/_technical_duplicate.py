"""Predictions by a repeat of the experiment: how well anything could be expected to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scwhatif.metrics._effect_weights import Moments, moments, read_cells, scores_against
from scwhatif.metrics._profiles import read_profile, read_profiles

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_MIN_CELLS = 4


class TechnicalDuplicate(NamedTuple):
    """Result of :func:`technical_duplicate`, all perturbations × genes.

    Parameters
    ----------
    duplicate
        Mean of one half of the cells: the prediction.
    observed
        Mean of the other half: what everything is to be compared with.
    t
        Score of the observed half against all other perturbations, for weights of genes.
    pval
        Corrected p-value of the duplicate half against all other perturbations, which has seen nothing of what the
        duplicate is compared with.
    """

    duplicate: pd.DataFrame
    observed: pd.DataFrame
    t: pd.DataFrame
    pval: pd.DataFrame


def technical_duplicate(
    cells: Any, perturbation: ArrayLike, *, seed: int | np.random.Generator | None = 0
) -> TechnicalDuplicate:
    """Split the cells of each perturbation in two halves at random, one to predict the other.

    What a repeat of the experiment with half of the cells predicts is a ceiling that no model can be expected to pass
    by much, and where a metric does not tell it from the mean of all perturbations, that metric cannot tell models
    apart :cite:p:`Mejia2025`. Being made of half of the cells it is noisy: a model that knew the truth would pass it.
    Everything else must be compared with the same half.

    Parameters
    ----------
    cells
        Cells × genes, log-normalised; array, table or sparse matrix. Without the control.
    perturbation
        Of each cell, each of four cells at least.
    seed
        Seed or generator of the split; ``None`` draws a fresh one.

    Returns
    -------
    Both halves' means, and what sets each apart from the other perturbations, as
    :func:`~scwhatif.metrics.effect_scores` tells it; 0 and 1 where there is no other. Where cells are odd in number,
    the observed half has one more.

    Raises
    ------
    ValueError
        A perturbation has fewer than four cells, lengths differ, or something is missing or infinite.

    Examples
    --------
    >>> import scwhatif as wi
    >>> halves = wi.metrics.technical_duplicate([[0.0], [0.0], [2.0], [2.0]], ["KLF1"] * 4, seed=1)
    >>> (halves.duplicate + halves.observed).loc["KLF1"].tolist()
    [2.0]
    """
    values, names, codes, genes = read_cells(cells, perturbation)
    check_cells_suffice(codes, names)
    halves = split_halves(codes, np.random.default_rng(seed))
    everything = moments(values, codes, len(names))
    rest = Moments(*(each.sum(axis=0) - each for each in everything))
    of_halves = [moments(values, np.where(halves == half, codes, -1), len(names)) for half in (0, 1)]
    if len(names) > 1:
        t, _ = scores_against(of_halves[1], rest)
        _, pval = scores_against(of_halves[0], rest)
    else:
        t, pval = np.zeros_like(everything.total), np.ones_like(everything.total)
    tables = (of_halves[0].mean, of_halves[1].mean, t, pval)
    return TechnicalDuplicate(*(pd.DataFrame(each, index=names, columns=genes) for each in tables))


def interpolated_duplicate(
    duplicate: pd.DataFrame, train_mean: ArrayLike | pd.Series, pval: pd.DataFrame
) -> pd.DataFrame:
    r"""Predict by a repeat of the experiment where it is sure, and by the mean of other perturbations elsewhere.

    .. math:: (1 - p_{pg})\, \hat y_{pg} + p_{pg}\, m_g

    with the corrected p-value :math:`p` of the repeat's own cells :cite:p:`Miller2025`. Genes that a perturbation
    leaves alone are known better from all other perturbations than from a few cells of this one. So this is the
    higher ceiling where a perturbation changes few genes, and the lower one where it changes many a little.

    Parameters
    ----------
    duplicate
        As from :func:`~scwhatif.metrics.technical_duplicate`, perturbations × genes.
    train_mean
        Mean profile of the training perturbations, one value per gene.
    pval
        As from :func:`~scwhatif.metrics.technical_duplicate`, perturbations × genes.

    Returns
    -------
    Perturbations × genes.

    Raises
    ------
    ValueError
        Shapes disagree, names repeat or are missing, values are not finite, or p-values outside [0, 1].

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> duplicate = pd.DataFrame({"KLF1": [2.0], "HBG1": [0.8]}, index=["MAPK1"])
    >>> wi.metrics.interpolated_duplicate(duplicate, [1.0, 0.6], 0 * duplicate + [0.0, 1.0])
           KLF1  HBG1
    MAPK1   2.0   0.6
    """
    repeat = read_profiles(duplicate, "duplicate")
    mean = read_profile(train_mean, "train_mean", like=repeat)
    doubt = read_profiles(pval, "pval", like=repeat).values
    if doubt.min() < 0 or doubt.max() > 1:
        msg = f"pval must lie in [0, 1], not in [{doubt.min():g}, {doubt.max():g}]."
        raise ValueError(msg)
    return repeat.frame((1 - doubt) * repeat.values + doubt * mean)


def check_cells_suffice(codes: NDArray[np.int64], names: list[Any]) -> None:
    """Refuse perturbations that cannot be halved.

    Parameters
    ----------
    codes
        Perturbation of each cell.
    names
        Of the perturbations.

    Raises
    ------
    ValueError
        One has fewer than four cells.
    """
    n = np.bincount(codes, minlength=len(names))
    if n.min() < _MIN_CELLS:
        msg = f"perturbation {names[int(n.argmin())]!r} has {n.min()} cell(s); at least {_MIN_CELLS} make two halves."
        raise ValueError(msg)


def split_halves(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Halve the cells of every label at random.

    Parameters
    ----------
    codes
        Label of each cell.
    rng
        Source of the split.

    Returns
    -------
    0 or 1 for each cell; there are as many 0 as 1 in each label, or one fewer.
    """
    order = np.lexsort((rng.random(len(codes)), codes))
    start = np.searchsorted(codes[order], codes[order])
    size = np.bincount(codes)[codes[order]]
    half = np.empty(len(codes), dtype=np.int64)
    half[order] = np.arange(len(codes)) - start >= size // 2
    return half
