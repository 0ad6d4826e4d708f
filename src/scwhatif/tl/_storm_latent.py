"""From the drivers of samples through the latent state to the layers, differentiable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scvi import REGISTRY_KEYS

from scwhatif.module._multi_omic_vae import OBSERVED_KEY
from scwhatif.nn import product_of_experts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.module import MultiOmicVAE


class DriverPath:
    """What a model makes of the drivers of some samples.

    Parameters
    ----------
    module
        A trained module with drivers.
    tensors
        The samples, as in a batch.
    direct
        Step of a layer, standardised, per unit of each driver that does not run through the latent state,
        ``(n_drivers, n_features)``.

    Attributes
    ----------
    x
        Drivers, ``(n_rows, n_drivers)``; 0 where not called.
    called
        Whether they were called, bool.
    state
        Posterior mean given all layers but the drivers, ``(n_rows, n_latent)``.
    measured
        Whether any of these layers was measured, bool, ``(n_rows,)``.
    """

    def __init__(
        self, module: MultiOmicVAE, tensors: Mapping[str, torch.Tensor], direct: Mapping[str, torch.Tensor]
    ) -> None:
        self.module, self.tensors = module, tensors
        self.values, self.observed = tensors[REGISTRY_KEYS.X_KEY], tensors[OBSERVED_KEY]
        self.codes = tensors.get(REGISTRY_KEYS.CAT_COVS_KEY)
        self.direct = dict(direct)
        drivers = str(module.drivers)
        columns = module.columns[drivers]
        self.called = self.observed[:, columns]
        self.x = torch.where(self.called, self.values[:, columns], 0.0)
        # how often training samples carry each driver
        self.frequency = module.location[columns]
        self._encoder = module.encoders[module.names.index(drivers)]
        with torch.no_grad():
            means, variances = module.experts(self.values, self.observed)
            present = module.present(self.observed) & ~module.is_driver_layer()
            self.state = product_of_experts(means, variances, present.T)[0]
        self.measured = present.any(dim=1)

    @classmethod
    def of(cls, model: MultiOmicLPM, mdata: MuData, rows: Sequence[int] | NDArray[np.int64]) -> DriverPath:
        """Of samples by position.

        Parameters
        ----------
        model
            A trained model with drivers.
        mdata
            Samples.
        rows
            Positions in ``mdata.obs_names``.

        Returns
        -------
        The path.
        """
        tensors = model._on_device(model._rows_of(mdata).batch(rows))
        device = model.module.location.device
        direct = {name: torch.as_tensor(each, device=device) for name, each in model.driver_effects_.items()}
        return cls(model.module, tensors, direct)

    def shuffled(self, rng: np.random.Generator) -> DriverPath:
        """What a module with the weights of this one in random order makes of the same samples.

        Parameters
        ----------
        rng
            Source of the order.

        Returns
        -------
        The path; nothing goes around the latent state.
        """
        return DriverPath(shuffled_module(self.module, rng), self.tensors, {})

    def seed(self, x: torch.Tensor, rows: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        """Posterior mean of the latent state given the drivers alone.

        Parameters
        ----------
        x
            Drivers, ``(n, n_drivers)``, any number; those that were not called do not matter.
        rows
            The samples, whose calls are used.

        Returns
        -------
        ``(n, n_latent)``.
        """
        called = self.called[rows]
        mean, variance = self._encoder(x, called)
        return product_of_experts(mean[None], variance[None], called.any(dim=1)[None])[0]

    def counterfactual(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Layers decoded from where the samples are, had they other drivers.

        Parameters
        ----------
        x
            Drivers, ``(n_rows, n_drivers)``.

        Returns
        -------
        Standardised layers by name: of the state moved by the change of :meth:`seed`, and what goes around it.
        """
        return self._decode(self.state + self.seed(x) - self.seed(self.x).detach(), x)

    def from_drivers(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Layers decoded from the drivers and covariates alone.

        Parameters
        ----------
        x
            Drivers, ``(n_rows, n_drivers)``.

        Returns
        -------
        Standardised layers by name.
        """
        return self._decode(self.seed(x), x)

    def _decode(self, z: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
        nothing = torch.zeros(len(z), len(self.module.names), dtype=torch.bool, device=z.device)
        decoded = self.module.generative(z=z, visible=nothing, x=self.values, observed=self.observed, codes=self.codes)
        # the state does not hold what goes around it, so this is added whole and not as a change
        step = torch.where(self.called, x - self.frequency, 0.0).double()
        layers = {}
        for name, location in decoded["px"].items():
            value = self.module.to_standardized(name, location).double()
            layers[name] = value + step @ self.direct[name] if name in self.direct else value
        return layers


def shuffled_module(module: MultiOmicVAE, rng: np.random.Generator) -> MultiOmicVAE:
    """A module of the same make whose every weight was drawn from those of its own tensor.

    Parameters
    ----------
    module
        The module.
    rng
        Source of the order.

    Returns
    -------
    A copy; scales of the data stay as they are.
    """
    from copy import deepcopy

    other = deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.from_numpy(rng.permutation(parameter.numel())).to(parameter.device)
            parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))
    return other
