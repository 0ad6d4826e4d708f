"""Model classes, following the conventions of scvi-tools."""

from scwhatif.model._beta_linear_scvi import BetaLinearSCVI

__all__ = ["BetaLinearSCVI"]
