"""Batches that stay sparse on their way to a module that takes them so."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.dataloaders import DataSplitter

# a matrix with a larger share of non-zeros trains faster dense
MAX_DENSITY = 0.2


class SparseDataSplitter(DataSplitter):
    """scvi-tools' splitter, except that sparse counts reach a module on the CPU as CSR tensors.

    A matrix in memory is loaded so if it is CSR and at most a fifth of it is non-zero, any other only if
    ``load_sparse_tensor`` is asked for. On other devices everything is as in scvi-tools: the module gets dense batches.

    Parameters
    ----------
    adata_manager
        Manager of the AnnData.
    **kwargs
        Arguments of :class:`scvi.dataloaders.DataSplitter`.
    """

    def __init__(self, adata_manager: Any, **kwargs: Any) -> None:
        super().__init__(adata_manager, **kwargs)
        x = adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        self._is_worth_it = (
            sparse.issparse(x)
            and x.format == "csr"
            and x.has_canonical_format
            and x.nnz <= MAX_DENSITY * x.shape[0] * x.shape[1]
        )

    @property
    def _on_cpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cpu"

    def setup(self, stage: str | None = None) -> None:
        """Split the cells, and choose how they are loaded."""
        super().setup(stage)
        if self._is_worth_it and self._on_cpu:
            self.load_sparse_tensor = True
            with warnings.catch_warnings():
                # torch says once per process that CSR tensors are in beta and unchecked: let it, where nobody listens
                warnings.simplefilter("ignore", UserWarning)
                torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64), torch.ones(0))

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Leave sparse batches sparse on the CPU."""
        return batch if self._on_cpu else super().on_after_batch_transfer(batch, dataloader_idx)
