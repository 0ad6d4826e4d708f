"""Torch modules, one per model."""

from scwhatif.module._beta_linear_vae import BetaLinearVAE
from scwhatif.module._cell_line_energy import CellLineEnergyModule
from scwhatif.module._layer_scaling_mixin import LayerSpec
from scwhatif.module._metric_encoder import MetricEncoderModule
from scwhatif.module._multi_omic_vae import MultiOmicVAE

__all__ = ["BetaLinearVAE", "CellLineEnergyModule", "LayerSpec", "MetricEncoderModule", "MultiOmicVAE"]
