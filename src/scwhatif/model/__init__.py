"""Model classes, following the conventions of scvi-tools."""

from scwhatif.model._beta_linear_scvi import BetaLinearSCVI
from scwhatif.model._cell_line_energy_model import CellLineEnergyModel
from scwhatif.model._load_folds import load_folds
from scwhatif.model._metric_encoder import MetricEncoder
from scwhatif.model._multi_omic_lpm import MultiOmicLPM

__all__ = ["BetaLinearSCVI", "CellLineEnergyModel", "MetricEncoder", "MultiOmicLPM", "load_folds"]
