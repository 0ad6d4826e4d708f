"""Encoding and decoding of batches, shared by the mixins of :class:`scwhatif.model.MultiOmicLPM`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi import REGISTRY_KEYS

from scwhatif.module._multi_omic_vae import OBSERVED_KEY
from scwhatif.nn import product_of_experts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


class MultiOmicDecodingMixin:
    """Posterior from some of the layers, and the layers decoded from it."""

    module: Any
    layer_names: list[str]

    def _given(self, names: Sequence[str]) -> torch.Tensor:
        unknown = [name for name in names if name not in self.layer_names]
        if unknown:
            msg = f"{unknown} are not layers of the model, which has {self.layer_names}."
            raise KeyError(msg)
        return torch.tensor([name in names for name in self.layer_names])

    def _on_device(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: value.to(self.module.device) for key, value in batch.items()}

    @torch.inference_mode()
    def _posterior(self, batch: Mapping[str, torch.Tensor], mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tensors = self._on_device(batch)
        x, observed = tensors[REGISTRY_KEYS.X_KEY], tensors[OBSERVED_KEY]
        means, variances = self.module.experts(x, observed)
        return product_of_experts(means, variances, (self.module.present(observed) & mask.to(x.device)).T)

    @torch.inference_mode()
    def _decode(self, target: str, batch: Mapping[str, torch.Tensor], mask: torch.Tensor) -> np.ndarray:
        tensors = self._on_device(batch)
        mean, _ = self._posterior(batch, mask)
        visible = self.module.present(tensors[OBSERVED_KEY]) & mask.to(mean.device)
        decoded = self._generate(mean, visible, tensors)[target]
        return self.module.to_standardized(target, decoded).double().cpu().numpy()

    @torch.inference_mode()
    def _decode_all(self, z: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        tensors = self._on_device(batch)
        nothing = torch.zeros(len(z), len(self.layer_names), dtype=torch.bool, device=z.device)
        decoded = self._generate(z, nothing, tensors)
        return {name: self.module.to_standardized(name, d).double().cpu().numpy() for name, d in decoded.items()}

    def _generate(
        self, z: torch.Tensor, visible: torch.Tensor, tensors: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        return self.module.generative(
            z=z,
            visible=visible,
            x=tensors[REGISTRY_KEYS.X_KEY],
            observed=tensors[OBSERVED_KEY],
            codes=tensors.get(REGISTRY_KEYS.CAT_COVS_KEY),
        )["px"]
