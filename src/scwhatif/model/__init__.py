"""Model classes, following the conventions of scvi-tools."""

from scwhatif.model._beta_linear_scvi import BetaLinearSCVI
from scwhatif.model._multi_omic_lpm import MultiOmicLPM

__all__ = ["BetaLinearSCVI", "MultiOmicLPM"]
