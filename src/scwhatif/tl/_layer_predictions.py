"""Predictions of a layer in samples that models were not fitted to, by what they look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scwhatif.tl._layer_scores import HeldOut
from scwhatif.tl._layer_values import layer_values, predict_standardized, scale_of, training_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._fold_models import FoldModel, FoldModels

_MIN_ROWS = 10

Given = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LayerPredictions:
    """A layer in the samples asked about, and what models predict of it.

    Attributes
    ----------
    held_out
        The measured values.
    predicted
        By the layers looked at, in the order of the model's layers, ``(n_rows, n_features)``.
    present
        Which rows have a layer, by name.
    folds
        Models, with the positions in ``mdata.obs_names`` of their part of the rows.
    sizes
        Number of training and test samples of a unit, as :func:`scwhatif.tl._layer_scores.score_interval` takes them.
    """

    held_out: HeldOut
    predicted: dict[Given, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]
    folds: list[FoldModel]
    sizes: tuple[float, float]


def predict_held_out(
    found: FoldModels,
    mdata: MuData,
    target: str,
    *,
    given: Iterable[Given],
    strata: NDArray[np.int64],
    require: Sequence[str] = (),
) -> LayerPredictions:
    """Ask every model about its samples.

    Parameters
    ----------
    found
        The models.
    mdata
        The samples.
    target
        Layer to predict.
    given
        What to look at, several times.
    strata
        Stratum of every sample of ``mdata``.
    require
        Layers that a sample must have, besides the target.

    Returns
    -------
    The predictions, fold by fold.

    Raises
    ------
    ValueError
        Too few samples have all these layers.
    """
    asked = list(dict.fromkeys(given))
    folds, parts, sizes = [], [], []
    for fold in found.folds:
        everything = layer_values(fold.model, mdata, fold.rows)
        there = np.flatnonzero(everything.present([target, *require]))
        if not len(there):
            continue
        rows, scale = fold.rows[there], scale_of(fold.model, target)
        part = {each: predict_standardized(fold.model, mdata, rows, target=target, given=each) for each in asked}
        folds.append(fold._replace(rows=rows))
        if len(found.folds) > 1:
            # of all samples, because those that lack a layer are as many on either side
            sizes.append((len(training_rows(fold.model)), len(fold.rows)))
        parts.append(
            (
                everything.values[target][there] * scale,
                everything.observed[target][there],
                {each: values * scale for each, values in part.items()},
                {name: seen[there].any(axis=1) for name, seen in everything.observed.items()},
            )
        )
    n_rows = sum(len(fold.rows) for fold in folds)
    if n_rows < _MIN_ROWS:
        named = ", ".join(repr(name) for name in dict.fromkeys([target, *require]))
        msg = f"Only {n_rows} sample(s) asked about have all of {named}; at least {_MIN_ROWS} are needed."
        raise ValueError(msg)
    fold_of = np.repeat(np.arange(len(folds)), [len(fold.rows) for fold in folds])
    several = len(folds) > 1
    held_out = HeldOut(
        truth=np.concatenate([part[0] for part in parts]),
        observed=np.concatenate([part[1] for part in parts]),
        unit=fold_of if several else np.arange(n_rows),
        stratum=fold_of * (int(strata.max()) + 1) + strata[np.concatenate([fold.rows for fold in folds])],
    )
    mean_sizes = np.mean(sizes, axis=0) if several else (np.inf, 1.0)
    return LayerPredictions(
        held_out,
        {each: np.concatenate([part[2][each] for part in parts]) for each in asked},
        {name: np.concatenate([part[3][name] for part in parts]) for name in found.first.layer_names},
        folds,
        (float(mean_sizes[0]), float(mean_sizes[1])),
    )


def layers_of(model: MultiOmicLPM, layers: str | Sequence[str] | None, default: Sequence[str], name: str) -> list[str]:
    """Layers that a call is about.

    Parameters
    ----------
    model
        A trained model.
    layers
        What the caller was given.
    default
        Taken for ``None``.
    name
        The argument.

    Returns
    -------
    Names, each once.

    Raises
    ------
    KeyError
        A layer is not known.
    ValueError
        There is none.
    """
    chosen = list(default) if layers is None else [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    unknown = [each for each in chosen if each not in model.layer_names]
    if unknown:
        msg = f"{name} names {unknown}, which are not layers of the model: {model.layer_names}."
        raise KeyError(msg)
    if not chosen:
        msg = f"{name} names no layer, and the model was set up without one to take instead; choose from "
        msg += f"{model.layer_names}."
        raise ValueError(msg)
    return chosen
