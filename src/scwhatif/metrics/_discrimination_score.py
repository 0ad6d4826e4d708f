"""Whether a prediction resembles its own perturbation more than the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from scwhatif.metrics._profiles import listed, read_pair, read_profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from scwhatif.metrics._profiles import Profiles

Distance = Literal["l1", "l2", "cosine"]
Candidates = Literal["observed", "predicted"]
# Relative difference below which two distances are equal.
_ROUNDING = 1e-12


def discrimination_score(
    predicted: ArrayLike | pd.DataFrame,
    observed: ArrayLike | pd.DataFrame,
    *,
    distance: Distance = "l1",
    reference: ArrayLike | pd.Series | None = None,
    targets: Mapping[str, str | Sequence[str]] | None = None,
    candidates: Candidates = "observed",
) -> pd.Series:
    r"""Share of the other perturbations that each prediction is further from than from its own.

    For perturbation :math:`p` of :math:`P`,

    .. math::
        \frac{1}{P - 1} \sum_{q \ne p} \left(1[d(\hat y_p, y_p) < d(\hat y_p, y_q)]
        + \tfrac{1}{2}\, 1[d(\hat y_p, y_p) = d(\hat y_p, y_q)]\right)

    which is 1 less the mid-rank of the own among all, counted from 0, over :math:`P - 1`. Predicting the same for all
    scores ½ on average, and so does chance. With ``"l2"`` it is the centroid accuracy of Systema
    :cite:p:`Vinas2025`. With ``"l1"`` it is the perturbation discrimination score of the Virtual Cell Challenge
    :cite:p:`Roohani2025`, whose implementation in cell-eval divides by :math:`P` and orders ties by their position, so
    that its worst score is :math:`1 / P`. PerturBench :cite:p:`Wu2024` ranks predictions for each observed profile
    (``candidates="predicted"``), divides by :math:`P`, and calls 0 best.

    Distances of size reward predictions that are scaled up or down until they are nearest to their own; compare with
    ``"cosine"``, which sees directions only.

    Genes that a perturbation acts on directly are best left out, since they give it away. Where :math:`p` is compared
    with :math:`q`, the ``targets`` of both are left out of both distances. cell-eval leaves out those of :math:`p`
    only: every other perturbation is then further away by its own target, and predicting no change for all can score
    nearly 1.

    Parameters
    ----------
    predicted, observed
        Mean profiles, at least two perturbations × genes, finite. Two tables are matched by the names in ``observed``.
    distance
        ``"l1"``, ``"l2"``, or ``"cosine"`` of the differences from ``reference``.
    reference
        One profile, ``(n_genes,)``, needed for ``"cosine"`` and only there.
    targets
        Gene or genes that each perturbation acts on directly; those not in the table are ignored. Needs names.
    candidates
        What is ranked: ``"observed"`` profiles for each prediction, or ``"predicted"`` ones for each observation.

    Returns
    -------
    One score per perturbation, in [0, 1]. The cosine distance of a profile without any difference is 1 from all.

    Raises
    ------
    ValueError
        There is one perturbation only, an argument is unknown, missing or without use, shapes disagree, names repeat
        or are missing, or values are not finite.

    Examples
    --------
    >>> import scwhatif as wi
    >>> observed = [[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]
    >>> wi.metrics.discrimination_score([[1.0, 0.0], [0.0, 3.0], [0.5, 0.5]], observed)
    0    1.0
    1    0.5
    2    0.0
    dtype: float64
    """
    for name, value, known in (("distance", distance, Distance), ("candidates", candidates, Candidates)):
        if value not in get_args(known):
            msg = f"{name}={value!r} must be one of {get_args(known)}."
            raise ValueError(msg)
    if (distance == "cosine") != (reference is not None):
        msg = "reference is needed for distance='cosine', and of no use to the others."
        raise ValueError(msg)
    guess, truth = read_pair(predicted, observed)
    if len(guess) < 2:
        msg = "there must be at least two perturbations to tell apart."
        raise ValueError(msg)
    asked, ranked = (guess, truth.values) if candidates == "observed" else (truth.values, guess)
    if reference is not None:
        centre = read_profile(reference, "reference", like=truth)
        asked, ranked = asked - centre, ranked - centre
    return truth.series(_share_further(asked, ranked, distance, _columns(targets, truth)))


def _columns(targets: Mapping[str, str | Sequence[str]] | None, truth: Profiles) -> list[NDArray[np.int64]]:
    """Positions of the genes to leave out for each perturbation."""
    if targets is None:
        return [np.zeros(0, dtype=np.int64)] * len(truth.perturbations)
    if truth.genes is None:
        msg = "targets need names of perturbations and genes: give observed as a table."
        raise ValueError(msg)
    missing = [name for name in truth.perturbations if name not in targets]
    if missing:
        msg = f"targets lacks {listed(missing)}; give an empty list for a perturbation that acts on no gene."
        raise ValueError(msg)
    named = [[each] if isinstance(each := targets[name], str) else list(each) for name in truth.perturbations]
    return [np.flatnonzero(truth.genes.isin(genes)) for genes in named]


def _share_further(
    asked: NDArray[np.float64], ranked: NDArray[np.float64], distance: Distance, left_out: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    n = len(asked)
    owner, gene = np.repeat(np.arange(n), [len(each) for each in left_out]), np.concatenate(left_out)

    def summed(terms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over genes, without those of the other perturbation of each comparison; ``(n,)`` from one row or n."""
        dropped = terms[owner, gene] if terms.ndim == 2 else terms[gene]
        return terms.sum(axis=-1) - np.bincount(owner, dropped, minlength=n)

    def far_from(profile: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
        if distance == "l1":
            return summed(np.abs(profile - others))
        if distance == "l2":
            return summed(np.square(profile - others))
        size = np.sqrt(summed(np.square(profile)) * summed(np.square(others)))
        return 1 - np.divide(summed(profile * others), size, out=np.zeros(n), where=size > 0)

    scores, table = np.empty(n), ranked.copy()
    for p, columns in enumerate(left_out):
        profile = asked[p].copy()
        # zeros on both sides add to no distance
        profile[columns] = table[:, columns] = 0.0
        other, own = far_from(profile, table), far_from(profile, table[p])
        lead = np.delete(other - own, p)
        tied = np.abs(lead) <= _ROUNDING * np.delete(np.abs(other) + np.abs(own), p)
        scores[p] = (np.count_nonzero(tied) / 2 + np.count_nonzero(~tied & (lead > 0))) / (n - 1)
        table[:, columns] = ranked[:, columns]
    return scores
