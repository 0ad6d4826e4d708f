"""Training plans, callbacks and errors."""

from scwhatif.train._divergence import TrainingDivergedError
from scwhatif.train._embedding_bank import EmbeddingBank
from scwhatif.train._embedding_monitor import EmbeddingMonitor
from scwhatif.train._energy_curriculum import EnergyCurriculum
from scwhatif.train._energy_plan import EnergyTrainingPlan
from scwhatif.train._episode_sampler import Episode, EpisodeSampler
from scwhatif.train._global_hard_pairs import GlobalPairs, global_hard_pairs
from scwhatif.train._metric_plan import MetricTrainingPlan
from scwhatif.train._mine_triplets import Triplets, mine_triplets
from scwhatif.train._pk_sampler import PKSampler
from scwhatif.train._pk_splitter import PKSplitter
from scwhatif.train._sparse_data_splitter import SparseDataSplitter
from scwhatif.train._training_plan import TrainingPlan

__all__ = [
    "EmbeddingBank",
    "EmbeddingMonitor",
    "EnergyCurriculum",
    "EnergyTrainingPlan",
    "Episode",
    "EpisodeSampler",
    "GlobalPairs",
    "MetricTrainingPlan",
    "PKSampler",
    "PKSplitter",
    "SparseDataSplitter",
    "TrainingDivergedError",
    "TrainingPlan",
    "Triplets",
    "global_hard_pairs",
    "mine_triplets",
]
