"""Tables of what editing drivers does, feature by feature and layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scwhatif.metrics import (
    driver_propensity,
    holdout_energy,
    holdout_randomization,
    selection_probability,
)
from scwhatif.metrics._randomized_driver import RandomizedDriver
from scwhatif.metrics._stratified_difference import stratified_difference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scwhatif.tl._driver_effects import DriverAnswer, DriverEffects

CONFIDENCE = 0.95
# A layer or a driver is tested with fewer draws than a feature, of which there are so many more.
_MOST_LAYER_DRAWS = 10_000
_FDR = 0.05


class DriverRows(NamedTuple):
    """Rows of the tables for one driver.

    Parameters
    ----------
    features, layers, driver
        Columns by name.
    scores
        What each sample says of each layer, ``(n_samples, n_layers)``; NaN where it says nothing.
    energy
        Of every layer, ``(n_layers,)``.
    null
        Statistic of every layer in each draw, ``(n_draws, n_layers)``.
    """

    features: dict[str, Any]
    layers: dict[str, Any]
    driver: dict[str, Any]
    scores: NDArray[np.float64]
    energy: NDArray[np.float64]
    null: NDArray[np.float64]


def driver_rows(
    question: DriverEffects,
    driver: str,
    answer: DriverAnswer,
    strata: NDArray[np.int64],
    *,
    null: str,
    min_carriers: int,
    n_null: int,
    n_pairs: int,
    seed: int,
) -> DriverRows:
    """Test the answers about one driver.

    Parameters
    ----------
    question
        What was asked.
    driver
        Name of the driver.
    answer
        Answers about it.
    strata
        Group of each sample.
    null
        ``"permutation"`` or ``"conditional"``.
    min_carriers
        Fewest carriers, and fewest others, that are tested.
    n_null, n_pairs, seed
        As in :func:`scwhatif.tl.gene_knockout`.

    Returns
    -------
    The rows.
    """
    x, sign = answer.x, 1.0 if question.set_to == 1 else -1.0
    seen = stratified_difference(x, answer.residuals, strata=strata)
    n_others = (~np.isnan(answer.residuals[x == 0])).sum(axis=0)
    enough = np.minimum(seen.n_carriers, n_others) >= min_carriers
    between, within = np.nan_to_num(np.square(answer.effect_se)), np.square(seen.se)
    width = _interval_half(answer.n_models, between, within, seen.df)
    residuals = np.where(enough, answer.residuals, np.nan)
    propensity = None
    if null == "conditional" and enough.any():
        propensity = driver_propensity(x, question.others(driver), strata=strata, seed=seed)
    given: dict[str, Any] = {"strata": strata, "propensity": propensity}
    # a driver gets the same draws whichever others are asked about
    rng = np.random.default_rng([seed, question.names.index(driver)])
    blocks = [residuals[:, columns] for columns in question.columns.values()]
    # the data of a fold taught the models of the others, unless there is one model and it has seen none of them
    fresh = question.models.held_out and len(question.models.folds) == 1
    direction = np.where(np.isfinite(answer.effect), np.sign(sign * answer.effect), 0.0)
    tested = holdout_randomization(x, residuals, direction, **given, sides=1 if fresh else 2, n_null=n_null, seed=rng)
    energy = holdout_energy(x, blocks, **given, n_null=min(n_null, _MOST_LAYER_DRAWS), seed=rng)
    probability, scores = _stability(question, answer, residuals, given, tested.pval, n_pairs, seed)
    n_layer = [int(seen.n_carriers[columns].max(initial=0)) for columns in question.columns.values()]
    features = {
        "driver": driver,
        "layer": np.repeat(question.layers, [columns.stop - columns.start for columns in question.columns.values()]),
        "feature": question.features,
        "effect": answer.effect,
        "se": np.sqrt(between + within),
        "low": answer.effect - width,
        "high": answer.effect + width,
        "observed": sign * seen.difference,
        "observed_se": seen.se,
        "n_carriers": seen.n_carriers,
        "n_models": answer.n_models,
        "statistic": tested.statistic,
        "pval": tested.pval,
        "selection_probability": probability,
    }
    layers = {
        "driver": driver,
        "layer": question.layers,
        **_summarise(question, answer, features, strata),
        "n_carriers": n_layer,
        "n_models": answer.n_models,
        "statistic": energy.statistic,
        "pval": energy.pval,
    }
    known = np.isfinite(energy.statistic)
    total, null_total = energy.statistic[known].mean() if known.any() else np.nan, energy.null[:, known]
    pval = (1 + (null_total.mean(axis=1) >= total).sum()) / (1 + len(null_total)) if known.any() else np.nan
    shift_width = _quantile(answer.n_models - 1) * answer.shift_se
    row = {
        "driver": driver,
        "n_carriers": int((x == 1).sum()),
        "n_models": answer.n_models,
        "shift": answer.shift,
        "se": answer.shift_se,
        "low": max(answer.shift - shift_width, 0.0),
        "high": answer.shift + shift_width,
        "statistic": total,
        "pval": pval,
    }
    return DriverRows(features, layers, row, scores, energy.energy, energy.null)


def _quantile(df: Any) -> Any:
    from scipy.stats import t

    return t.ppf((1 + CONFIDENCE) / 2, np.maximum(df, 1))


def _interval_half(
    n_models: int, between: NDArray[np.float64], within: NDArray[np.float64], df: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Half of the width of Student's interval, with Welch's degrees of freedom for both variances together."""
    parts = np.square(between) / max(n_models - 1, 1) + np.square(within) / np.maximum(df, 1)
    freedom = np.where(parts > 0, np.square(between + within) / np.where(parts > 0, parts, 1.0), 1.0)
    return _quantile(freedom) * np.sqrt(between + within)


def _summarise(
    question: DriverEffects, answer: DriverAnswer, features: Mapping[str, Any], strata: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Root mean squares over the features of each layer, in standard deviations."""
    effect, observed, observed_se = (features[name] / question.scale for name in ("effect", "observed", "observed_se"))
    rows = []
    for columns in question.columns.values():
        known = np.flatnonzero(np.isfinite(effect[columns])) + columns.start
        if not len(known):
            rows.append([np.nan] * 6)
            continue
        size = _rms(effect[known])
        # errors of features go together, so the error of the size is that of the effect along its own direction
        along = effect[known] / (max(size, 1e-12) * len(known) * question.scale[known])
        sample = np.nan_to_num(answer.residuals[:, known]) @ along
        missing = np.isnan(answer.residuals[:, known]).all(axis=1)
        seen = stratified_difference(answer.x, np.where(missing, np.nan, sample)[:, None], strata=strata)
        of_folds = np.array([[fold.effect[known] @ along] for fold in answer.folds])
        between, within = np.nan_to_num(np.square(answer.spread(of_folds))), np.square(seen.se)
        half = float(_interval_half(answer.n_models, between, within, seen.df)[0])
        there = known[np.isfinite(observed[known] + observed_se[known])]
        # what is left of the observed differences without their sampling error
        energy = np.square(observed[there]) - np.square(observed_se[there])
        rows.append(
            [
                size,
                float(np.sqrt(between + within)[0]),
                max(size - half, 0.0),
                size + half,
                float(effect[known].mean()),
                float(np.sqrt(max(energy.mean(), 0.0))) if len(there) else np.nan,
            ]
        )
    return dict(zip(("effect", "se", "low", "high", "mean_effect", "observed"), np.array(rows).T, strict=True))


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).mean())) if len(values) else np.nan


def _stability(
    question: DriverEffects,
    answer: DriverAnswer,
    residuals: NDArray[np.float64],
    given: Mapping[str, Any],
    pval: NDArray[np.float64],
    n_pairs: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Selection probability of every feature, and what each sample says of every layer in the model's direction."""
    from scipy.stats import false_discovery_control

    sign = 1.0 if question.set_to == 1 else -1.0
    n_samples, n_features = residuals.shape
    probability, scores = np.full(n_features, np.nan), np.full((n_samples, len(question.layers)), np.nan)
    known = np.isfinite(pval)
    if not known.any() or not n_pairs:
        return probability, scores
    driver = RandomizedDriver(answer.x, **given)
    centred = driver.centre(residuals[:, known])
    parts = driver.deviation[:, None] * centred / driver.null_sd(centred)
    fold_of = np.full(n_samples, -1)
    for i, fold in enumerate(answer.folds):
        fold_of[fold.rows] = i
    for i, fold in enumerate(answer.folds):
        # each sample speaks for the direction of the model that has not seen it
        inside = fold_of[driver.rows] == i
        weight = (fold.effect / question.scale)[known]
        for j, columns in enumerate(question.columns.values()):
            place = (np.flatnonzero(known) >= columns.start) & (np.flatnonzero(known) < columns.stop)
            if place.any():
                scores[driver.rows[inside], j] = sign * (parts[inside][:, place] @ weight[place])
    if len(driver.rows) >= 4:
        n_top = max(1, int((false_discovery_control(pval[known]) <= _FDR).sum()))
        found = selection_probability(
            parts,
            n_top,
            statistic=lambda half: np.abs(half.sum(axis=0)),
            strata=np.asarray(given["strata"])[driver.rows],
            n_pairs=n_pairs,
            seed=seed,
        )
        probability[known] = found.probability
    return probability, scores


def layer_stability(
    scores: NDArray[np.float64], pval: NDArray[np.float64], strata: NDArray[np.int64], *, n_pairs: int, seed: int
) -> NDArray[np.float64]:
    """Selection probability of every pair of driver and layer.

    Parameters
    ----------
    scores
        What each sample says of each pair, ``(n_samples, n_tests)``; above 0 where it agrees with the model.
    pval
        p-value of each; as many are selected in every half as pass a false discovery rate of 5 %, or one.
    strata
        Group of each sample.
    n_pairs, seed
        As in :func:`scwhatif.metrics.selection_probability`.

    Returns
    -------
    ``(n_tests,)``; NaN where there was no test.
    """
    from scipy.stats import false_discovery_control

    probability = np.full(len(pval), np.nan)
    known = np.isfinite(pval) & np.isfinite(scores).any(axis=0)
    if not n_pairs or not known.any() or len(scores) < 4:
        return probability
    n_top = max(1, int((false_discovery_control(pval[known]) <= _FDR).sum()))

    def strength(half: NDArray[np.float64]) -> NDArray[np.float64]:
        spread = np.sqrt(np.nansum(np.square(half), axis=0))
        return np.where(spread > 0, np.nansum(half, axis=0) / np.where(spread > 0, spread, 1.0), np.nan)

    found = selection_probability(
        scores[:, known], n_top, statistic=strength, strata=strata, n_pairs=n_pairs, seed=seed
    )
    probability[known] = found.probability
    return probability


def adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``padj`` after ``pval``, over all rows that were tested.

    Parameters
    ----------
    table
        With ``pval``.

    Returns
    -------
    The table, indexed ``"0"``, ``"1"`` ….
    """
    from scipy.stats import false_discovery_control

    pval = table["pval"].to_numpy(dtype=np.float64)
    padj = np.full(len(pval), np.nan)
    known = np.isfinite(pval)
    if known.any():
        padj[known] = false_discovery_control(pval[known])
    table.insert(table.columns.get_loc("pval") + 1, "padj", padj)
    table.index = pd.RangeIndex(len(table)).astype(str)
    return table
