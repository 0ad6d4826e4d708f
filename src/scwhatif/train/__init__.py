"""Training plans, callbacks and errors."""

from scwhatif.train._divergence import TrainingDivergedError
from scwhatif.train._embedding_monitor import EmbeddingMonitor
from scwhatif.train._energy_curriculum import EnergyCurriculum
from scwhatif.train._energy_plan import EnergyTrainingPlan
from scwhatif.train._episode_sampler import Episode, EpisodeSampler
from scwhatif.train._sparse_data_splitter import SparseDataSplitter
from scwhatif.train._training_plan import TrainingPlan

__all__ = [
    "EmbeddingMonitor",
    "EnergyCurriculum",
    "EnergyTrainingPlan",
    "Episode",
    "EpisodeSampler",
    "SparseDataSplitter",
    "TrainingDivergedError",
    "TrainingPlan",
]
