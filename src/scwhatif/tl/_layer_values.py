"""Layers of some samples as a model standardises them, measured and predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM


@dataclass(frozen=True, eq=False)
class LayerValues:
    """What was measured in some samples.

    Attributes
    ----------
    values
        Standardised by the training samples of the model, by layer, ``(n_rows, n_features)``; 0 where an entry is
        missing.
    observed
        Which entries were measured, by layer.
    """

    values: dict[str, NDArray[np.float64]]
    observed: dict[str, NDArray[np.bool_]]

    def present(self, layers: Sequence[str]) -> NDArray[np.bool_]:
        """Which samples have all of some layers.

        Parameters
        ----------
        layers
            Names of layers.

        Returns
        -------
        ``(n_rows,)``.
        """
        every: NDArray[np.bool_] = np.ones(len(next(iter(self.observed.values()))), dtype=bool)
        for name in layers:
            every &= self.observed[name].any(axis=1)
        return every


def layer_values(model: MultiOmicLPM, mdata: MuData | None, rows: NDArray[np.int64]) -> LayerValues:
    """Read layers of some samples.

    Parameters
    ----------
    model
        A trained model.
    mdata
        The samples; ``None`` for the model's own.
    rows
        Positions in ``mdata.obs_names``.

    Returns
    -------
    All layers of the model.
    """
    values, observed, _ = model._regressors(model._rows_of(mdata).batch(rows))
    return LayerValues(values, observed)


def training_rows(model: MultiOmicLPM) -> NDArray[np.int64]:
    """Positions of the samples that a model was fitted to, those that chose its weights included.

    Parameters
    ----------
    model
        A trained model.

    Returns
    -------
    Positions in the ``obs_names`` of the model's own data, rising.

    Raises
    ------
    ValueError
        The model was loaded without its data.
    """
    if model.adata is None:
        msg = "The model was loaded without its data, which the comparison is fitted to; load it with mdata."
        raise ValueError(msg)
    return np.sort(np.concatenate([model.train_indices, model.validation_indices])).astype(np.int64)


def scale_of(model: MultiOmicLPM, layer: str) -> NDArray[np.float64]:
    """Standard deviation of every feature of a layer, which is the unit of its standardised values.

    Parameters
    ----------
    model
        A trained model.
    layer
        Name of the layer.

    Returns
    -------
    ``(n_features,)``.
    """
    return model.module.scale[model.module.columns[layer]].double().cpu().numpy()


def predict_standardized(
    model: MultiOmicLPM, mdata: MuData, rows: NDArray[np.int64], *, target: str, given: Sequence[str]
) -> NDArray[np.float64]:
    """Predict a layer from others, as its measured values are standardised.

    Parameters
    ----------
    model
        A trained model.
    mdata
        The samples.
    rows
        Positions in ``mdata.obs_names``.
    target
        Layer to predict.
    given
        Layers to look at; covariates are always looked at.

    Returns
    -------
    ``(n_rows, n_features)``.
    """
    frame = model.predict(target, mdata, given=list(given), indices=rows.tolist())
    predicted = cast("pd.DataFrame", frame).to_numpy(np.float64)
    if model.module.layers[model.layer_names.index(target)].likelihood == "nb":
        predicted = np.log1p(predicted)
    location = model.module.location[model.module.columns[target]].double().cpu().numpy()
    return (predicted - location) / scale_of(model, target)
