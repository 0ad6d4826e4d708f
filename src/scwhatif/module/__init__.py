"""Torch modules, one per model."""

from scwhatif.module._beta_linear_vae import BetaLinearVAE

__all__ = ["BetaLinearVAE"]
