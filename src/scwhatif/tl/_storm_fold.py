"""The storm of the samples of one fold: as measured, and as decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scvi import REGISTRY_KEYS

from scwhatif.model._multi_omic_flow import as_list
from scwhatif.module._multi_omic_vae import OBSERVED_KEY
from scwhatif.tl._storm_attribution import integrated_gradients, switched
from scwhatif.tl._storm_latent import DriverPath
from scwhatif.tl._storm_score import LayerValues, fit_site_scale, layer_storms
from scwhatif.tl._storm_settings import fitted_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._fold_models import FoldModel


class FoldStorm:
    """Storms of the samples that a model may be asked about.

    Parameters
    ----------
    mdata
        The samples.
    fold
        The model, and its samples.
    reference
        As for :func:`scwhatif.tl._storm_settings.check_reference`.

    Attributes
    ----------
    path
        From the drivers of the samples to their layers.
    layers
        The PTM layers.
    measured
        Storm of every layer as measured, ``(n_rows, n_layers)``; NaN where a layer was not.
    """

    def __init__(self, mdata: MuData, fold: FoldModel, reference: tuple[str, str] | str) -> None:
        model = fold.model
        self.layers = ptm_layers(model)
        self.protein = model._setup["protein"]
        seen, members = fitted_rows(mdata, model, reference)
        training = _standardised(model, model._on_device(model._rows_of(None).batch(seen)))
        inside = torch.as_tensor(members, device=model.module.location.device)
        protein = None if self.protein is None else training[self.protein]
        skips = model.module.skips
        self.scales = {}
        for name in self.layers:
            key = None if self.protein is None else model.module._skip_name(name, self.protein)
            parents = skips[key].links if key in skips else None
            self.scales[name] = fit_site_scale(training[name], protein, parents, inside)
            if not self.scales[name].usable.any():
                msg = (
                    f"No site of {name!r} varies in reference={reference!r}, which has {int(members.sum())} sample(s) "
                    "that a model was fitted to; use a larger reference, or 'cohort'."
                )
                raise ValueError(msg)
        self.path = DriverPath.of(model, mdata, fold.rows)
        self.measured = self._storms(_standardised(model, self.path.tensors)).cpu().numpy()

    def decoded(self, x: torch.Tensor, path: DriverPath | None = None) -> torch.Tensor:
        """Storms decoded from where the samples are, had they other drivers.

        Parameters
        ----------
        x
            Drivers, ``(n_rows, n_drivers)``.
        path
            Another one of the same samples.

        Returns
        -------
        ``(n_rows, n_layers)``.
        """
        layers = (self.path if path is None else path).counterfactual(x)
        return self._storms({name: LayerValues.whole(value) for name, value in layers.items()})

    def predicted(self, x: torch.Tensor) -> torch.Tensor:
        """Storms predicted from drivers and covariates alone.

        Parameters
        ----------
        x
            Drivers, ``(n_rows, n_drivers)``.

        Returns
        -------
        ``(n_rows, n_layers)``.
        """
        return self._storms({name: LayerValues.whole(v) for name, v in self.path.from_drivers(x).items()})

    def change(self, drivers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Storm with each driver less that without it, from where each sample is.

        Parameters
        ----------
        drivers
            Their positions.

        Returns
        -------
        ``(n_rows, n_drivers, n_layers)``; NaN where a driver was not called or nothing but drivers was measured.
        """
        pairs = [switched(self.decoded, self.path.x, int(j)) for j in drivers]
        change = np.stack([(on - off).cpu().numpy() for off, on in pairs], axis=1)
        return np.where(self.asked()[:, drivers, None], change, np.nan)

    def residuals(self, drivers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Measured storm less that predicted from all other drivers and covariates.

        Parameters
        ----------
        drivers
            Positions of the drivers that are 0 in the prediction, one at a time.

        Returns
        -------
        ``(n_rows, n_drivers)``, mean over the layers that were measured; NaN where none was.
        """
        predicted = [switched(self.predicted, self.path.x, int(j))[0].cpu().numpy() for j in drivers]
        return mean_of_layers(self.measured[:, None] - np.stack(predicted, axis=1))

    def shuffled_change(self, drivers: Sequence[int] | NDArray[np.int64], rng: np.random.Generator) -> np.ndarray:
        """Change of the storm, mean over layers, in a model whose weights are in random order.

        Parameters
        ----------
        drivers
            Their positions.
        rng
            Source of the order.

        Returns
        -------
        ``(n_rows, n_drivers)``.
        """
        path = self.path.shuffled(rng)
        pairs = [switched(lambda x: self.decoded(x, path), self.path.x, int(j)) for j in drivers]
        change = np.stack([(on - off).mean(dim=1).cpu().numpy() for off, on in pairs], axis=1)
        return np.where(self.asked()[:, drivers], change, np.nan)

    def shares(self, n_steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Integrated gradients from a sample without drivers.

        Parameters
        ----------
        n_steps
            Points of the path.

        Returns
        -------
        Shares of all drivers, ``(n_rows, n_drivers, n_layers)``, NaN for those that a sample does not carry, and what
        they should add up to, ``(n_rows, n_layers)``, NaN where nothing but drivers was measured.
        """
        shares, difference = (e.cpu().numpy() for e in integrated_gradients(self.decoded, self.path.x, n_steps=n_steps))
        carried = self.asked() & (self.path.x > 0).cpu().numpy()
        there = self.path.measured.cpu().numpy()
        return np.where(carried[..., None], shares, np.nan), np.where(there[:, None], difference, np.nan)

    def asked(self) -> NDArray[np.bool_]:
        """Where a driver was called and another layer measured, ``(n_rows, n_drivers)``."""
        return (self.path.called & self.path.measured[:, None]).cpu().numpy()

    def _storms(self, layers: Mapping[str, LayerValues]) -> torch.Tensor:
        protein = None if self.protein is None else layers[self.protein]
        return layer_storms([scale.deviations(layers[name], protein) for name, scale in self.scales.items()])


def ptm_layers(model: MultiOmicLPM) -> list[str]:
    """Names of the PTM layers.

    Parameters
    ----------
    model
        The model.

    Returns
    -------
    The names.

    Raises
    ------
    ValueError
        There are none.
    """
    names = as_list(model._setup["ptm"])
    if not names:
        msg = "target='storm' needs layers of modified sites; name them in setup_mudata(ptm=…)."
        raise ValueError(msg)
    return names


def mean_of_layers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is there.

    Parameters
    ----------
    values
        NaN where a layer is missing.

    Returns
    -------
    The mean; NaN where all are missing.
    """
    known = ~np.isnan(values)
    n = known.sum(axis=-1)
    return np.where(n > 0, np.where(known, values, 0.0).sum(axis=-1) / np.maximum(n, 1), np.nan)


def _standardised(model: MultiOmicLPM, tensors: Mapping[str, torch.Tensor]) -> dict[str, LayerValues]:
    x, observed = tensors[REGISTRY_KEYS.X_KEY], tensors[OBSERVED_KEY]
    values = model.module.standardize(x, observed)
    columns = model.module.columns
    return {name: LayerValues(values[:, columns[name]], observed[:, columns[name]]) for name in model.layer_names}
