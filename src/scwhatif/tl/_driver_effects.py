"""What fold models say of one driver in samples they have not seen, beside what was measured there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from scwhatif import _validation
from scwhatif.metrics import nadeau_bengio_interval
from scwhatif.tl._fold_models import fold_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM


class FoldEffect(NamedTuple):
    """What one model says.

    Parameters
    ----------
    rows
        Samples it was asked about.
    effect
        Mean decoded change over the edited ones among them, ``(n_features,)``.
    shift
        Mean length of their step in the latent state.
    n_edited
        How many these are.
    n_train
        Number of samples it was fitted to.
    """

    rows: NDArray[np.int64]
    effect: NDArray[np.float64]
    shift: float
    n_edited: int
    n_train: int


@dataclass(frozen=True, eq=False)
class DriverAnswer:
    """Answers about one driver.

    Parameters
    ----------
    x
        Who carries it, ``(n_samples,)``: 0, 1, or NaN where it was not called or no model may be asked.
    residuals
        What was measured less what the models predict from the drivers and covariates with this driver at 0 in every
        sample, ``(n_samples, n_features)``; NaN where not measured.
    effect
        Mean decoded change over the edited samples, ``(n_features,)``.
    effect_se
        Its standard error from the spread between models; NaN from a single one.
    shift
        Mean length of the step in the latent state.
    shift_se
        Its standard error, as that of the effect.
    folds
        What each model says that was asked about an edited sample.
    """

    x: NDArray[np.float64]
    residuals: NDArray[np.float64]
    effect: NDArray[np.float64]
    effect_se: NDArray[np.float64]
    shift: float
    shift_se: float
    folds: list[FoldEffect]

    @property
    def n_models(self) -> int:
        """Number of models that were asked about an edited sample."""
        return len(self.folds)

    def spread(self, of_folds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard error of a mean over models, which share training samples.

        Parameters
        ----------
        of_folds
            ``(n_models, n)``.

        Returns
        -------
        ``(n,)``; NaN from a single model.
        """
        n = len(self.folds)
        if n < 2:
            return np.full(of_folds.shape[1], np.nan)
        sizes = {"n_train": [fold.n_train for fold in self.folds], "n_test": [len(fold.rows) for fold in self.folds]}
        interval = nadeau_bengio_interval(of_folds.T, **sizes, confidence=0.5)
        return (interval.high - interval.mean) / stdtrit(n - 1, 0.75)


class DriverEffects:
    """Asks models about drivers, one after the other.

    Parameters
    ----------
    mdata
        The samples.
    model
        A model, or those of the folds of a cross-validation.
    layers
        Layers to look at; ``None`` is all but the drivers.
    set_to
        Value drivers are set to, in the samples that have the other one.

    Attributes
    ----------
    layers
        Layers looked at.
    columns
        Columns of each in ``values``.
    values
        What was measured, ``(n_samples, n_features)``, in the units of the predictions; NaN where not measured.
    scale
        Standard deviation of every feature.

    Raises
    ------
    KeyError
        A layer is not known.
    ValueError
        The model has no drivers, or ``set_to`` is not 0 or 1.
    """

    def __init__(
        self,
        mdata: MuData,
        model: MultiOmicLPM | Sequence[MultiOmicLPM],
        *,
        layers: Sequence[str] | None = None,
        set_to: int = 0,
    ) -> None:
        self.models = fold_models(mdata, model)
        first = self.models.first
        setup = first.registry["setup_args"]
        if setup["drivers"] is None:
            msg = "The model was set up without drivers, so there are none to edit."
            raise ValueError(msg)
        if set_to not in (0, 1):
            msg = f"set_to={set_to} must be 0 or 1."
            raise ValueError(msg)
        known = [name for name in first.layer_names if name != setup["drivers"]]
        self.layers = known if layers is None else list(dict.fromkeys([layers] if isinstance(layers, str) else layers))
        if unknown := [name for name in self.layers if name not in known]:
            msg = f"layers names {unknown}; the model decodes {known}."
            raise KeyError(msg)
        if not self.layers:
            msg = "layers is empty; name at least one, or None for all."
            raise ValueError(msg)
        self.mdata, self.set_to, self._drivers = mdata, set_to, str(setup["drivers"])
        self._rows = [model._rows_of(mdata) for model, _ in self.models.folds]
        blocks = [self._measured(name) for name in self.layers]
        ends = np.cumsum([block.shape[1] for block in blocks])
        self.columns = {
            name: slice(end - block.shape[1], end) for name, block, end in zip(self.layers, blocks, ends, strict=True)
        }
        self.values = np.hstack(blocks)
        self.features = np.concatenate([np.asarray(mdata[name].var_names, dtype=object) for name in self.layers])
        self.calls = self._aligned(self._drivers)
        with warnings.catch_warnings():
            # a feature may lack values in these samples
            warnings.simplefilter("ignore", RuntimeWarning)
            spread = np.nanstd(self.values, axis=0)
        self.scale = np.where(spread > 0, spread, np.nan)

    @property
    def names(self) -> list[str]:
        """Names of all drivers."""
        return list(self.mdata[self._drivers].var_names)

    def others(self, driver: str) -> NDArray[np.float64]:
        """Calls of all drivers but one, ``(n_samples, n_drivers - 1)``."""
        return np.delete(self.calls, self.names.index(driver), axis=1)

    def answer(self, driver: str) -> DriverAnswer:
        """Ask about a driver.

        Parameters
        ----------
        driver
            Its name.

        Returns
        -------
        The answers; effects are NaN where no sample was edited.
        """
        column = self.names.index(driver)
        calls = self.calls[:, column]
        predicted, n_asked = np.zeros_like(self.values), np.zeros(len(calls), dtype=np.int64)
        folds = []
        for i, (model, given) in enumerate(self.models.folds):
            rows = given[~np.isnan(calls[given])]
            if not len(rows):
                continue
            n_asked[rows] += 1
            predicted[rows] += self._without(i, column, rows)
            edited = rows[calls[rows] == 1 - self.set_to]
            if len(edited):
                n_train = len(model.train_indices) + len(model.validation_indices)
                change, shift = self._change(model, driver, edited), self._shift(model, driver, edited)
                folds.append(FoldEffect(rows, change, shift, len(edited), n_train))
        asked = n_asked > 0
        residuals = np.full_like(self.values, np.nan)
        residuals[asked] = self.values[asked] - predicted[asked] / n_asked[asked, None]
        x = np.where(asked, calls, np.nan)
        if not folds:
            unknown = np.full(self.values.shape[1], np.nan)
            return DriverAnswer(x, residuals, unknown, unknown, np.nan, np.nan, folds)
        weight = np.array([fold.n_edited for fold in folds], dtype=np.float64)
        stacked = np.array([[*fold.effect, fold.shift] for fold in folds])
        mean = weight @ stacked / weight.sum()
        answer = DriverAnswer(x, residuals, mean[:-1], mean[:-1], float(mean[-1]), np.nan, folds)
        se = answer.spread(stacked)
        return replace(answer, effect_se=se[:-1], shift_se=float(se[-1]))

    def _aligned(self, name: str) -> NDArray[np.float64]:
        """A layer as measured, in the rows of the data, NaN where it was not."""
        rows, columns = self._rows[0], self.models.first.module.columns[name]
        values = rows.x[:, columns].numpy().astype(np.float64)
        return np.where(rows.observed[:, columns].numpy(), values, np.nan)

    def _measured(self, name: str) -> NDArray[np.float64]:
        values = self._aligned(name)
        first = self.models.first
        place = first.layer_names.index(name)
        if first.module.layers[place].likelihood == "nb":
            total = np.nansum(values, axis=1, keepdims=True)
            values = values * (float(first.module.median_total[place]) / np.where(total > 0, total, 1.0))
        return values

    def _without(self, fold: int, column: int, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Layers as a model predicts them from drivers and covariates, with one driver at 0."""
        from scvi import REGISTRY_KEYS

        model = self.models.folds[fold].model
        batch = self._rows[fold].batch(positions)
        batch[REGISTRY_KEYS.X_KEY][:, model.module.columns[self._drivers].start + column] = 0.0
        layers = [model._to_units(name, model._predicted(name, batch, [self._drivers])[0]) for name in self.layers]
        return np.hstack(layers).astype(np.float64)

    def _change(self, model: MultiOmicLPM, driver: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        frames = model.perturb_drivers({driver: self.set_to}, self.mdata, targets=self.layers, indices=rows.tolist())
        return np.concatenate([frames[name].to_numpy().mean(axis=0) for name in self.layers]).astype(np.float64)

    def _shift(self, model: MultiOmicLPM, driver: str, rows: NDArray[np.int64]) -> float:
        step = model.get_driver_shift({driver: self.set_to}, self.mdata, indices=rows.tolist()).astype(np.float64)
        covariance = model.module.latent_covariance.double().cpu().numpy()
        return float(np.sqrt(np.maximum((step * np.linalg.solve(covariance, step.T).T).sum(axis=1), 0.0)).mean())


def driver_strata(
    mdata: MuData, model: MultiOmicLPM, strata: str | Sequence[str] | None
) -> tuple[list[str], NDArray[np.int64]]:
    """Group of every sample within which carriers are compared.

    Parameters
    ----------
    mdata
        The samples.
    model
        Its categorical covariates are the default.
    strata
        Columns of ``mdata.obs``, or ``None``.

    Returns
    -------
    The columns, and ``(n_samples,)`` codes; one group without columns.

    Raises
    ------
    KeyError
        A column does not exist.
    ValueError
        A column has missing entries.
    """
    if strata is None:
        strata = model.registry["setup_args"]["categorical_covariate_keys"]
    keys = [strata] if isinstance(strata, str) else [str(key) for key in strata]
    for key in keys:
        if key not in mdata.obs:
            msg = f"strata names {key!r}, which is not in mdata.obs: {list(mdata.obs.columns)}."
            raise KeyError(msg)
        if mdata.obs[key].isna().any():
            rows = mdata.obs_names[mdata.obs[key].isna().to_numpy()]
            msg = f"mdata.obs[{key!r}] (strata) is missing for {_validation._listed(rows)}; name their group."
            raise ValueError(msg)
    if not keys:
        return keys, np.zeros(mdata.n_obs, dtype=np.int64)
    labels = pd.MultiIndex.from_frame(mdata.obs[keys].astype(str))
    return keys, np.asarray(pd.factorize(labels)[0], dtype=np.int64)
