"""Score predicted perturbations beside what needs no model and what a repeat of the experiment reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.metrics._bilinear_ridge import predict_bilinear
from scwhatif.metrics._effect_weights import effect_weights, moments, read_cells
from scwhatif.metrics._perturbation_baselines import (
    check_not_trained,
    parts_of,
    predict_additive,
    predict_average,
    predict_no_change,
    predict_train_mean,
    read_train,
)
from scwhatif.metrics._perturbation_metrics import Truth, score_all, select_metrics
from scwhatif.metrics._perturbation_summary import summarise_scores
from scwhatif.metrics._profiles import check_held, listed, read_profile, read_profiles
from scwhatif.metrics._technical_duplicate import check_cells_suffice, interpolated_duplicate, technical_duplicate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

    from scwhatif.metrics._profiles import Profiles

# What others are calibrated between.
_DUPLICATE, _MEAN, _NO_CHANGE = "technical duplicate", "train mean", "no change"
# Largest difference, relative to the largest mean, of profiles that are taken for the means of the cells.
_TOLERANCE = 1e-3


def evaluate_perturbation(
    predicted: pd.DataFrame | Mapping[str, pd.DataFrame],
    observed: pd.DataFrame,
    control: ArrayLike | pd.Series,
    *,
    train: pd.DataFrame | None = None,
    cells: Any = None,
    perturbation: ArrayLike | None = None,
    targets: Mapping[str, str | Sequence[str]] | None = None,
    weights: pd.DataFrame | None = None,
    metrics: Iterable[str] | None = None,
    floors: bool = True,
    ceilings: bool = True,
    separator: str = "+",
    n_splits: int = 10,
    n_boot: int = 2000,
    confidence: float = 0.95,
    per_perturbation: bool = False,
    seed: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Score predicted perturbations beside what needs no model and what a repeat of the experiment reaches.

    ======================  ============================================================================================
    ``pearson_control``     :func:`~scwhatif.metrics.pearson_delta` from the control
    ``pearson_mean``        the same from the mean of the training perturbations
    ``mse``, ``mae``        mean squared and mean absolute error over genes; lower is better
    ``weighted_mse``        :func:`~scwhatif.metrics.weighted_mse`; lower is better
    ``weighted_r2``         :func:`~scwhatif.metrics.weighted_r2` from the mean of the training perturbations
    ``discrimination``      :func:`~scwhatif.metrics.discrimination_score` among the observed, target genes left out
    ``centroid_accuracy``   the same with Euclidean distances and all genes
    ======================  ============================================================================================

    Floors are predictors without a model: ``no change``; with ``train``, ``train mean`` and, where every tested
    perturbation allows it, ``additive`` and ``average of parts`` (combinations of trained parts) and ``bilinear
    ridge`` (see :func:`~scwhatif.metrics.predict_bilinear`). Ceilings need ``cells``: the ``technical duplicate`` (see
    :func:`~scwhatif.metrics.technical_duplicate`) and, with ``train``, the ``interpolated duplicate``. With ceilings,
    *everything* is scored against the other half of the cells, and scores are means over ``n_splits`` splits; they
    are then a little lower than against all cells, and can be compared.

    Parameters
    ----------
    predicted
        Mean profiles, perturbations × genes, of one predictor or of several by name. Perturbations and genes that
        ``observed`` does not have are left out.
    observed
        Mean profiles of the tested perturbations, perturbations × genes, without the control.
    control
        Mean profile of control cells, one value per gene.
    train
        Mean profiles of the training perturbations, perturbations × genes, without the control. None of them may be
        tested, under whatever name.
    cells
        The cells ``observed`` is the mean of, cells × genes in the same order; array, table or sparse matrix. Cells of
        further perturbations serve as the others when weights are found; leave the control out.
    perturbation
        Of each cell.
    targets
        Gene or genes each tested perturbation acts on.
    weights
        Of genes, perturbations × genes; best from other cells. By default those of
        :func:`~scwhatif.metrics.effect_weights`, from the half that is scored against, so that no predictor has had a
        part in them.
    metrics
        Names from the table above. By default all that can be had from what is given.
    floors, ceilings
        Whether to include these rows.
    separator
        Stands between the parts of a combination.
    n_splits
        Number of times the cells are halved.
    n_boot
        Number of resamples of perturbations for the intervals.
    confidence
        Of the intervals.
    per_perturbation
        Return the score of every perturbation instead of their mean.
    seed
        Seed or generator of splits and resamples; ``None`` draws a fresh one.

    Returns
    -------
    One row per predictor and metric; models come first, then floors, then ceilings

    ``predictor``, ``kind``, ``metric``
        Name (``"predicted"`` for a single table), ``"model"``, ``"floor"`` or ``"ceiling"``, and metric.
    ``value``, ``low``, ``high``
        Mean over perturbations and its interval, which resamples perturbations: what to expect of others like them.
        It takes them as independent, and is missing for a single one.
    ``gain``, ``gain_low``, ``gain_high``
        How much better than the floor with the best mean, perturbation by perturbation; above 0 is better whatever the
        metric. Missing without floors.
    ``calibrated``
        On the scale from 0 at the train mean (no change, without ``train``) to 1 at the technical duplicate, not
        clipped. Missing without both, and where the duplicate is not better beyond its interval: that metric cannot
        tell predictors apart on these data.
    ``dynamic_range``
        How far the technical duplicate takes the metric from that floor to a perfect score. It is the dynamic range
        fraction of :cite:t:`Miller2025` of the means, where they take the median of fractions, clipped at ±1.
    ``n_perturbations``
        How many.

    With ``per_perturbation``: ``predictor``, ``kind``, ``metric``, ``perturbation`` and ``value``.

    Raises
    ------
    ValueError
        A tested perturbation or the control is in ``train``, a predictor lacks a perturbation or a gene, ``cells`` do
        not average to ``observed``, something is missing, infinite or repeated, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> rng = np.random.default_rng(0)
    >>> effects = pd.DataFrame(rng.normal(size=(4, 50)), index=list("ABCD"))
    >>> doubles = pd.DataFrame({ab: effects.loc[list(ab)].sum() for ab in ("AB", "CD")}).T
    >>> doubles.index = ["A+B", "C+D"]
    >>> table = wi.metrics.evaluate_perturbation(0.5 * doubles, doubles, np.zeros(50), train=effects, metrics=["mse"])
    >>> table[["predictor", "kind", "value", "gain"]].round(2)
              predictor   kind  value  gain
    0         predicted  model   0.50 -0.50
    1         no change  floor   2.00 -2.00
    2        train mean  floor   1.15 -1.15
    3          additive  floor   0.00  0.00
    4  average of parts  floor   0.50 -0.50
    """
    rng = np.random.default_rng(seed)
    _check_numbers(n_splits=n_splits, n_boot=n_boot, confidence=confidence)
    truth = read_profiles(_named(observed), "observed")
    baseline = pd.Series(read_profile(control, "control", like=truth), truth.genes)
    models = _models(predicted, truth)
    known = None if train is None else _checked_train(train, truth, baseline, separator)
    simple = _floors(truth, baseline, known, separator) if floors else {}
    given = None if weights is None else truth.frame(read_profiles(weights, "weights", like=truth).values)
    whole = Truth(truth.frame(truth.values), baseline, None if known is None else known.mean(), given, targets)
    if (cells is None) != (perturbation is None):
        msg = "cells and perturbation belong together: give both or neither."
        raise ValueError(msg)
    rounds = [(whole, dict[str, pd.DataFrame]())]
    if cells is not None and perturbation is not None and ceilings:
        _check_cells(cells, perturbation, truth)
        rounds = [_halved(whole, cells, perturbation, rng) for _ in range(n_splits)]

    kinds = dict.fromkeys(models, "model") | dict.fromkeys(simple, "floor") | dict.fromkeys(rounds[0][1], "ceiling")
    clash = [name for name in models if kinds[name] != "model"]
    if clash:
        msg = f"predicted {listed(clash)} has the name of a floor or ceiling; call it something else."
        raise ValueError(msg)
    wanted = select_metrics(metrics, rounds[0][0].known)
    scores = [score_all((models | simple | repeats).values(), half, wanted) for half, repeats in rounds]
    values = np.mean(scores, axis=0)
    if per_perturbation:
        axes = {"predictor": list(kinds), "metric": wanted, "perturbation": truth.perturbations}
        index = pd.MultiIndex.from_product(list(axes.values()), names=list(axes))
        table = pd.DataFrame({"value": values.ravel()}, index=index).reset_index()
        table.insert(1, "kind", table["predictor"].map(kinds))
        return table
    return summarise_scores(
        values,
        kinds,
        wanted,
        zero=next((name for name in (_MEAN, _NO_CHANGE) if name in simple), None),
        one=_DUPLICATE if _DUPLICATE in kinds else None,
        n_boot=n_boot,
        confidence=confidence,
        rng=rng,
    )


def _check_numbers(*, n_splits: int, n_boot: int, confidence: float) -> None:
    for name, value in (("n_splits", n_splits), ("n_boot", n_boot)):
        if value < 1:
            msg = f"{name}={value} must be at least 1."
            raise ValueError(msg)
    if not 0 < confidence < 1:
        msg = f"confidence={confidence} must lie between 0 and 1."
        raise ValueError(msg)


def _named(table: Any) -> pd.DataFrame:
    if not isinstance(table, pd.DataFrame):
        msg = f"predicted and observed must be tables, perturbations × genes, not {type(table).__name__}."
        raise ValueError(msg)
    return table


def _models(predicted: pd.DataFrame | Mapping[str, pd.DataFrame], truth: Profiles) -> dict[str, pd.DataFrame]:
    given = predicted if isinstance(predicted, Mapping) else {"predicted": predicted}
    return {
        name: truth.frame(read_profiles(_named(table), f"predicted {name!r}", like=truth).values)
        for name, table in given.items()
    }


def _checked_train(train: pd.DataFrame, truth: Profiles, control: pd.Series, separator: str) -> pd.DataFrame:
    """Training profiles of the genes observed, unless they hold what they must not."""
    known = read_train(train)
    check_not_trained(known.perturbations, list(truth.perturbations), separator)
    check_held(truth.genes if truth.genes is not None else [], train.columns, "train", "gene")
    table = known.frame(known.values)[truth.genes]
    profiles = {"the control": control.to_numpy(), **dict(zip(truth.perturbations, truth.values, strict=True))}
    for name, row in zip(table.index, table.to_numpy(), strict=True):
        same = [other for other, profile in profiles.items() if np.array_equal(row, profile)]
        if same:
            msg = f"train row {name!r} is the profile of {same[0]!r}; leave out the control and what is tested."
            raise ValueError(msg)
    return table


def _floors(truth: Profiles, control: pd.Series, train: pd.DataFrame | None, separator: str) -> dict[str, pd.DataFrame]:
    tested = list(truth.perturbations)
    found = {_NO_CHANGE: predict_no_change(control, tested)}
    if train is None:
        return found
    found[_MEAN] = predict_train_mean(train, tested, separator=separator)
    parts = {part for name in tested for part in parts_of(name, separator)}
    if parts <= set(train.index):
        found["additive"] = predict_additive(train, control, tested, separator=separator)
        found["average of parts"] = predict_average(train, tested, separator=separator)
    if parts <= set(train.columns) and len(train.index.intersection(train.columns)) > 1:
        found["bilinear ridge"] = predict_bilinear(train, control, tested, separator=separator)
    return found


def _halved(
    whole: Truth, cells: Any, perturbation: ArrayLike, rng: np.random.Generator
) -> tuple[Truth, dict[str, pd.DataFrame]]:
    """One half of the cells to compare with, and what the other half predicts."""
    tested, genes = whole.observed.index, whole.observed.columns
    halves = [each.set_axis(genes, axis=1) for each in technical_duplicate(cells, perturbation, seed=rng)]
    # without others, nothing is known of what sets a perturbation apart
    has_others = len(halves[0]) > 1
    duplicate, observed, t, pval = (each.loc[tested] for each in halves)
    ceilings = {_DUPLICATE: duplicate}
    if whole.mean is not None and has_others:
        ceilings["interpolated duplicate"] = interpolated_duplicate(duplicate, whole.mean, pval)
    weights = effect_weights(t) if whole.weights is None and has_others else whole.weights
    return whole._replace(observed=observed, weights=weights), ceilings


def _check_cells(cells: Any, perturbation: ArrayLike, truth: Profiles) -> None:
    values, names, codes, genes = read_cells(cells, perturbation)
    if values.shape[1] != truth.values.shape[1] or (genes is not None and not genes.equals(truth.genes)):
        msg = "cells must have the genes of observed, in the same order."
        raise ValueError(msg)
    check_held(truth.perturbations, names, "perturbation", "perturbation")
    check_cells_suffice(codes, names)
    mean = pd.DataFrame(moments(values, codes, len(names)).mean, index=names).loc[truth.perturbations].to_numpy()
    off = np.abs(mean - truth.values).max(axis=1) > _TOLERANCE * (1 + np.abs(mean).max(axis=1))
    if off.any():
        msg = f"observed is not the mean of the cells of {listed(truth.perturbations[off])}; are they on one scale?"
        raise ValueError(msg)
