"""All scores of disentanglement in one table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._dci import dci_of
from scwhatif.metrics._explicitness import explicitness_of
from scwhatif.metrics._factors import check_latent, one_vs_rest, read_factors
from scwhatif.metrics._latent_matching import (
    latent_matching_score,
    lead_of_best,
    most_similar_averaging_score,
    most_similar_gap_score,
)
from scwhatif.metrics._latent_similarity import similarity_of
from scwhatif.metrics._modularity import modularity_of
from scwhatif.metrics._mutual_information import information
from scwhatif.metrics._sap import predictability

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from scwhatif.metrics._factors import Discrete, Factor, Factors
    from scwhatif.metrics._latent_similarity import Similarity

_AGGREGATIONS = {
    "LMS": latent_matching_score,
    "MSAS": most_similar_averaging_score,
    "MSGS": most_similar_gap_score,
}
_SIMILARITIES: tuple[Similarity, ...] = ("SMI", "SMI-quantile", "SPN", "ASC")
_DCI = ("DCI-D", "DCI-C", "DCI-I")
_ALL = (
    *(f"{how}-{what}" for what in _SIMILARITIES for how in _AGGREGATIONS),
    *("MIG", "SAP", *_DCI, "modularity", "explicitness"),
)
_HELD_OUT = (*_DCI, "explicitness")
_N_BINS, _N_FOLDS, _N_TREES = 10, 3, 10


def disentanglement(
    z: ArrayLike | pd.DataFrame,
    factors: Factors,
    *,
    metrics: Iterable[str] | None = None,
    discrete: Discrete = None,
    n_shuffles: int = 1,
    seed: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Score how well the dimensions of a representation stand for known factors, next to what chance gives.

    ======================================  ============================================================================
    ``LMS-*``, ``MSAS-*``, ``MSGS-*``       :func:`~scwhatif.metrics.latent_matching_score`,
                                            :func:`~scwhatif.metrics.most_similar_averaging_score` and
                                            :func:`~scwhatif.metrics.most_similar_gap_score` of the similarities
                                            ``SMI``, ``SMI-quantile``, ``SPN`` and ``ASC`` of
                                            :func:`~scwhatif.metrics.latent_similarity`
    ``MIG``, ``SAP``, ``explicitness``      means over factors of :func:`~scwhatif.metrics.mig`,
                                            :func:`~scwhatif.metrics.sap`, :func:`~scwhatif.metrics.explicitness`
    ``DCI-D``, ``DCI-C``, ``DCI-I``         means of :func:`~scwhatif.metrics.dci`
    ``modularity``                          mean of :func:`~scwhatif.metrics.modularity` over dimensions that know of
                                            any factor, NaN if none does
    ======================================  ============================================================================

    Dead dimensions should be left out first; exactly constant ones score 0 by themselves.

    Parameters
    ----------
    z
        Representation, ``(n_cells, n_dims)``, finite.
    factors
        One label per cell, whose categories are the factors, each against the rest (two categories are one factor);
        or one continuous value per cell; or a table ``(n_cells, n_factors)``, whose columns are the factors.
    metrics
        Names from the table above, for instance ``["LMS-SMI", "MIG"]``. By default all that the factors allow:
        ``SPN`` needs categories throughout, ``DCI-D`` and ``modularity`` at least two factors, and ``DCI-*`` and
        ``explicitness`` three cells of every category. With 10 000 cells, 36 dimensions and 20 categories, ``DCI-*``
        take about half a minute, all others together two seconds.
    discrete
        Whether factors are categories; one for all or one per factor. By default all that are not floats.
    n_shuffles
        Number of times the factors are shuffled over cells to find the floor; 0 leaves it out.
    seed
        Seed or generator of shuffles, folds and forests; ``None`` draws a fresh one.

    Returns
    -------
    One row per metric, indexed by ``metric``, float64

    ``score``
        Higher is better; 1 is the most there can be.
    ``floor``
        Mean score when the factors are shuffled: what the number of dimensions, bins and cells alone gives. Missing
        with ``n_shuffles=0``.

    Raises
    ------
    ValueError
        A metric is unknown, or asked for and not defined for these factors; ``z`` or ``factors`` are missing,
        infinite, constant or of unequal length; a category has a single cell; continuous values are given as
        categories or the reverse.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> rng = np.random.default_rng(0)
    >>> label = rng.choice(["B", "NK", "T"], 300)
    >>> z = np.column_stack([label == "B", label == "NK", label == "T"]) + 0.1 * rng.normal(size=(300, 3))
    >>> wi.metrics.disentanglement(z, label, metrics=["LMS-SMI", "LMS-SPN"], n_shuffles=20).round(1)
             score  floor
    metric
    LMS-SMI    1.0    0.0
    LMS-SPN    1.0    0.0
    """
    values, _ = check_latent(z)
    wanted = _ALL if metrics is None else tuple(metrics)
    unknown = [name for name in wanted if name not in _ALL]
    if unknown or not wanted:
        msg = f"metrics={list(wanted)} must be names from {list(_ALL)}."
        raise ValueError(msg)
    if n_shuffles < 0:
        msg = f"n_shuffles={n_shuffles} must not be negative."
        raise ValueError(msg)
    read = read_factors(factors, len(values), discrete)
    undefined = _undefined(read)
    if metrics is None:
        wanted = tuple(name for name in wanted if name not in undefined)
    for name in wanted:
        if name in undefined:
            msg = f"{name} is not defined for these factors: {undefined[name]}. Leave it out of metrics."
            raise ValueError(msg)
    if not isinstance(seed, int | np.integer):
        seed = int(np.random.default_rng(seed).integers(2**31))
    table = pd.DataFrame({"score": _scores(values, read, wanted, int(seed))}, index=pd.Index(wanted, name="metric"))
    if n_shuffles:
        rng = np.random.default_rng(seed)
        shuffled = []
        for _ in range(n_shuffles):
            order = rng.permutation(len(values))
            moved = [replace(factor, values=factor.values[order]) for factor in read]
            shuffled.append(_scores(values, moved, wanted, int(seed)))
        table["floor"] = np.mean(shuffled, axis=0)
    return table


def _undefined(factors: Sequence[Factor]) -> dict[str, str]:
    """Why each metric that the factors do not allow is not defined."""
    reasons: dict[str, str] = {}
    continuous = [factor.name for factor in factors if factor.levels is None]
    if continuous:
        reasons |= dict.fromkeys((f"{how}-SPN" for how in _AGGREGATIONS), f"{continuous[0]!r} is continuous")
    if len(factors) == 1:
        reasons |= dict.fromkeys(("DCI-D", "modularity"), f"{factors[0].name!r} is the only one")
    rare = [f.name for f in factors if f.levels is not None and np.bincount(f.values).min() < _N_FOLDS]
    if rare:
        reasons |= dict.fromkeys(_HELD_OUT, f"{rare[0]!r} has a category with fewer than {_N_FOLDS} cells")
    return reasons


def _scores(z: NDArray[np.float64], factors: Sequence[Factor], wanted: Sequence[str], seed: int) -> list[float]:
    found: dict[str, float] = {}
    columns = [column for factor in factors for column in one_vs_rest(factor)]
    for what in _SIMILARITIES:
        names = [name for name in wanted if name.partition("-")[2] == what]
        if names:
            similarity = similarity_of(z, columns, method=what, n_bins=_N_BINS)
            found |= {name: _AGGREGATIONS[name.partition("-")[0]](similarity) for name in names}
    if {"MIG", "modularity"} & {*wanted}:
        shared, entropies = information(z, factors, n_bins=_N_BINS, binning="quantile")
        found["MIG"] = float(lead_of_best(shared / entropies).mean())
        if "modularity" in wanted:
            informed = shared[shared.any(axis=1)]
            found["modularity"] = float(modularity_of(informed).mean()) if len(informed) else float("nan")
    if "SAP" in wanted:
        found["SAP"] = float(lead_of_best(predictability(z, factors)).mean())
    # both start from the seed, so that neither depends on whether the other is asked for
    if {*_DCI} & {*wanted}:
        rng = np.random.default_rng(seed)
        result = dci_of(z, factors, n_trees=_N_TREES, n_folds=_N_FOLDS, rng=rng)
        means = (result.mean_disentanglement, result.mean_completeness, result.mean_informativeness)
        found |= dict(zip(_DCI, means, strict=True))
    if "explicitness" in wanted:
        rng = np.random.default_rng(seed)
        found["explicitness"] = float(explicitness_of(z, factors, n_folds=_N_FOLDS, rng=rng).mean())
    return [found[name] for name in wanted]
