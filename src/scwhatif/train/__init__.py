"""Training plans, callbacks and errors."""

from scwhatif.train._divergence import TrainingDivergedError
from scwhatif.train._embedding_monitor import EmbeddingMonitor
from scwhatif.train._training_plan import TrainingPlan

__all__ = ["EmbeddingMonitor", "TrainingDivergedError", "TrainingPlan"]
