"""Loads rows for metric learning, which live on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scvi import REGISTRY_KEYS
from scvi.dataloaders import DataSplitter
from torch.utils.data import DataLoader, Dataset

from scwhatif.module._metric_encoder import EXAM_KEY, IDENTITY_KEY
from scwhatif.train._pk_sampler import PKSampler

if TYPE_CHECKING:
    from scvi.data import AnnDataManager


@dataclass
class MetricRows(Dataset):
    """All rows, loaded by list of positions.

    Attributes
    ----------
    x
        Input, ``(n_rows, n_input)`` float32.
    identity, exam
        Codes, ``(n_rows,)`` int64; exams may be ``None``.
    """

    x: torch.Tensor
    identity: torch.Tensor
    exam: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, rows: Any) -> dict[str, torch.Tensor]:
        index = torch.as_tensor(rows, dtype=torch.int64, device=self.x.device)
        batch = {
            REGISTRY_KEYS.X_KEY: self.x[index],
            IDENTITY_KEY: self.identity[index],
            REGISTRY_KEYS.INDICES_KEY: index,
        }
        if self.exam is not None:
            batch[EXAM_KEY] = self.exam[index]
        return batch

    def to(self, device: torch.device) -> None:
        """Move to a device, once.

        Parameters
        ----------
        device
            Where to.
        """
        self.x, self.identity = self.x.to(device), self.identity.to(device)
        self.exam = None if self.exam is None else self.exam.to(device)


class PKSplitter(DataSplitter):
    """Deals training rows by identity; the rows are few, and are moved to the device once.

    Validation needs all of its rows at once, so there is no loader for them; the training plan takes them from
    ``rows``.

    Parameters
    ----------
    adata_manager
        Manager of the AnnData.
    rows
        Its rows.
    gallery
        Positions of the rows among which validation rows look for others of their identity.
    sampler
        Arguments of :class:`scwhatif.train.PKSampler`.
    **kwargs
        Further arguments of :class:`scvi.dataloaders.DataSplitter`, of which ``external_indexing`` is needed.
    """

    def __init__(
        self,
        adata_manager: AnnDataManager,
        *,
        rows: MetricRows,
        gallery: np.ndarray,
        sampler: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        # nothing is batched by the base class, so its warning about a small last batch would mislead
        super().__init__(adata_manager, **{**kwargs, "drop_last": True})
        self.rows, self.gallery, self.sampler = rows, np.asarray(gallery, dtype=np.int64), sampler

    def train_dataloader(self) -> DataLoader:
        """Batches of identities, on the device."""
        trainer = self.trainer
        rank, world_size = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        self.rows.to(torch.device("cpu") if trainer is None else trainer.strategy.root_device)
        exams = None if self.rows.exam is None else self.rows.exam.cpu().numpy()
        sampler = PKSampler(
            self.rows.identity.cpu().numpy(),
            exams=exams,
            rows=self.train_idx,
            rank=rank,
            world_size=world_size,
            **self.sampler,
        )
        return DataLoader(self.rows, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> list[DataLoader]:
        """No loader."""
        return []

    def test_dataloader(self) -> list[DataLoader]:
        """No loader."""
        return []
