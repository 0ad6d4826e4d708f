"""How well layers of held-out samples are predicted, by a model and by what needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from scwhatif.tl._cv_splits import Split

RECONSTRUCTION, IMPUTATION, DRIVERS = INPUTS = ("reconstruction", "imputation", "drivers")
BASELINES = ("mean", "covariates", "ridge")
# an R² of a feature needs more than one held-out value
_MIN_VALUES = 2
_NORMAL_90 = 1.6448536269514722


class Layers(NamedTuple):
    """Layers of all samples as a model sees them, standardised by the training samples of a fold.

    Parameters
    ----------
    values
        ``(n_samples, n_features)`` by layer, 0 where nothing was measured.
    observed
        Whether it was, bool.
    location, scale
        Mean and standard deviation of the training samples, ``(n_features,)`` by layer.
    design
        Indicators of the covariates, less their means in the training samples, or ``None``.
    """

    values: dict[str, NDArray[np.float64]]
    observed: dict[str, NDArray[np.bool_]]
    location: dict[str, NDArray[np.float64]]
    scale: dict[str, NDArray[np.float64]]
    design: NDArray[np.float64] | None


def read_layers(model: Any, outside: NDArray[np.int64]) -> Layers:
    """Standardise the layers of a model by the samples outside the test fold.

    Parameters
    ----------
    model
        A trained :class:`scwhatif.model.MultiOmicLPM`.
    outside
        Positions of training and validation samples.

    Returns
    -------
    The layers; counts as the model scales them, log1p at the median total.
    """
    import torch

    rows = model._rows_of(None)
    device = model.module.device
    with torch.inference_mode():
        x = model.module.transform(rows.x.to(device), rows.observed.to(device)).double().cpu().numpy()
    mask = rows.observed.numpy()
    n = np.maximum(mask[outside].sum(axis=0), 1)
    mean = np.where(mask[outside], x[outside], 0.0).sum(axis=0) / n
    sd = np.sqrt(np.where(mask[outside], np.square(x[outside] - mean), 0.0).sum(axis=0) / n)
    sd[sd < 1e-6] = 1.0
    z = np.where(mask, (x - mean) / sd, 0.0)
    design = None
    if rows.codes is not None:
        sizes = model.module.n_categories
        design = np.hstack([np.eye(k)[code] for k, code in zip(sizes, rows.codes.numpy().T, strict=True)])
        design = design - design[outside].mean(axis=0)
    columns = model.module.columns

    def by_layer(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {name: array[..., columns[name]] for name in model.layer_names}

    return Layers(by_layer(z), by_layer(mask), by_layer(mean), by_layer(sd), design)


def r2_scores(
    truth: NDArray[np.float64], observed: NDArray[np.bool_], prediction: NDArray[np.float64]
) -> dict[str, float]:
    r"""Shares of the squares about the training mean that a prediction explains.

    Parameters
    ----------
    truth
        Standardised by the training samples, so that their mean is 0, ``(n_samples, n_features)``.
    observed
        Whether an entry was measured, bool.
    prediction
        On the same scale.

    Returns
    -------
    ``"r2"``: mean of :math:`1 - \mathrm{SSE} / \mathrm{SST}` over features with at least two values; ``"r2_median"``
    over the same; ``"r2_pooled"``: of all entries together; NaN where nothing was measured. ``"n_samples"``: number of
    samples with any value.
    """
    error = np.where(observed, np.square(truth - prediction), 0.0).sum(axis=0)
    total = np.where(observed, np.square(truth), 0.0).sum(axis=0)
    usable = (observed.sum(axis=0) >= _MIN_VALUES) & (total > 0)
    r2 = 1 - error[usable] / total[usable]
    return {
        "r2": float(r2.mean()) if len(r2) else np.nan,
        "r2_median": float(np.median(r2)) if len(r2) else np.nan,
        "r2_pooled": float(1 - error.sum() / total.sum()) if total.sum() > 0 else np.nan,
        "n_samples": int(observed.any(axis=1).sum()),
    }


def score_fold(
    model: Any, split: Split, *, targets: Sequence[str], baselines: Sequence[str], method: str
) -> list[dict[str, Any]]:
    """Score a model and the baselines on the test samples of its fold.

    Parameters
    ----------
    model
        Fitted to the training and validation samples.
    split
        The fold.
    targets
        Layers to predict.
    baselines
        Which baselines, from :data:`BASELINES`.
    method
        What to call the model.

    Returns
    -------
    Rows of the table of :func:`scwhatif.tl.cross_validate`.
    """
    outside = np.sort(np.concatenate([split.train, split.validation]))
    layers = read_layers(model, outside)
    drivers = model.module.drivers
    rows = []
    for target in targets:
        truth, seen = layers.values[target][split.test], layers.observed[target][split.test]
        fixed = {"mean": np.zeros_like(truth)}
        if layers.design is not None and "covariates" in baselines:
            fixed["covariates"] = _ridge(layers, target, [], outside, split.test)
        for inputs, given in _inputs(model, target).items():
            predictions = {name: fixed[name] for name in baselines if name in fixed}
            if "ridge" in baselines and inputs != RECONSTRUCTION:
                predictions["ridge"] = _ridge(layers, target, given, outside, split.test)
            predictions[method], coverage = _model(model, layers, target, inputs, given, split.test)
            for name, prediction in predictions.items():
                row = {"fold": split.fold, "repeat": split.repeat, "layer": target, "inputs": inputs, "method": name}
                row |= r2_scores(truth, seen, prediction)
                rows.append(row | {"coverage": coverage if name == method else np.nan})
    if drivers in targets:
        # what reads the drivers to predict the drivers is a reconstruction
        rows = [row for row in rows if (row["layer"], row["inputs"]) != (drivers, DRIVERS)]
    return rows


def _inputs(model: Any, target: str) -> dict[str, list[str]]:
    names = list(model.layer_names)
    inputs = {RECONSTRUCTION: names, IMPUTATION: [name for name in names if name != target]}
    return inputs if model.module.drivers is None else {**inputs, DRIVERS: [model.module.drivers]}


def _model(
    model: Any, layers: Layers, target: str, inputs: str, given: list[str], test: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """Standardised prediction, and the share of values within the 90 % interval where there is one."""
    likelihood = model.module.layers[model.layer_names.index(target)].likelihood
    interval = inputs != RECONSTRUCTION and likelihood in ("normal", "student")
    predicted = model.predict(target, given=given, indices=test, return_std=interval)
    frame: pd.DataFrame = predicted[0] if interval else predicted
    values = frame.to_numpy(dtype=np.float64)
    location, scale = layers.location[target], layers.scale[target]
    mean = ((np.log1p(values) if likelihood == "nb" else values) - location) / scale
    seen = layers.observed[target][test]
    if not interval or not seen.any():
        return mean, np.nan
    within = np.abs(layers.values[target][test] - mean) <= _NORMAL_90 * predicted[1].to_numpy() / scale
    return mean, float(within[seen].mean())


def _ridge(
    layers: Layers, target: str, given: Sequence[str], outside: NDArray[np.int64], test: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Ridge regression on covariates and given layers, what is missing at the training mean."""
    from scwhatif.nn import ridge_loo

    blocks = [layers.values[name] for name in given]
    if layers.design is not None:
        blocks.append(layers.design)
    rows = outside[layers.observed[target][outside].any(axis=1)]
    if not blocks or len(rows) < 2:
        return np.zeros((len(test), layers.values[target].shape[1]))
    x = np.hstack(blocks)
    return ridge_loo(x[rows], layers.values[target][rows], layers.observed[target][rows]).predict(x[test])
