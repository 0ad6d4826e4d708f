"""Rows of data that stay on disk, in the order they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnTorchDataset
from torch.utils.data import Subset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.utils.data import Dataset


class RowManager(AnnDataManager):
    """Registers fields as scvi-tools does, and reads rows of a matrix on disk or in dask in the order asked for.

    scvi-tools sorts the rows of a batch of a backed AnnData, so that what a model returns for ``indices`` belongs to
    other cells than their names say; it fails on sparse matrices in dask, and cannot read dense zarr arrays.
    """

    def create_torch_dataset(
        self,
        indices: Sequence[int] | Sequence[bool] | None = None,
        data_and_attributes: list[str] | dict[str, np.dtype] | None = None,
        load_sparse_tensor: bool = False,  # noqa: FBT001, FBT002
    ) -> Dataset:
        """Rows to load from.

        Parameters
        ----------
        indices
            Which rows; ``None`` is all.
        data_and_attributes
            Fields to load, with the types they are wanted in.
        load_sparse_tensor
            Whether sparse data give sparse tensors.

        Returns
        -------
        The data set.

        Raises
        ------
        ValueError
            The matrix lies on disk column by column.
        """
        x = self.get_from_registry(REGISTRY_KEYS.X_KEY)
        if isinstance(x, np.ndarray | pd.DataFrame) or sparse.issparse(x):
            return super().create_torch_dataset(indices, data_and_attributes, load_sparse_tensor)
        if getattr(x, "format", None) == "csc":
            msg = (
                "the matrix lies on disk column by column (CSC), so that every batch of cells would read all of it. "
                "Write it row by row, as CSR, or read it into memory with adata.to_memory()."
            )
            raise ValueError(msg)
        rows = BackedRows(self, getitem_tensors=data_and_attributes, load_sparse_tensor=load_sparse_tensor)
        return rows if indices is None else Subset(rows, np.asarray(indices).tolist())


class BackedRows(AnnTorchDataset):
    """Fields of cells whose matrix is read from disk, or computed by dask, batch by batch.

    Parameters
    ----------
    adata_manager
        Manager of the AnnData.
    getitem_tensors
        Fields to load, with the types they are wanted in.
    load_sparse_tensor
        Whether sparse data give sparse tensors.
    """

    def __init__(
        self,
        adata_manager: AnnDataManager,
        getitem_tensors: list[str] | dict[str, Any] | None = None,
        load_sparse_tensor: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        super().__init__(adata_manager, getitem_tensors, load_sparse_tensor)
        kept = {key: dtype for key, dtype in self.keys_and_dtypes.items() if key != REGISTRY_KEYS.X_KEY}
        self._fields = AnnTorchDataset(adata_manager, kept)

    def __getitem__(self, indexes: int | Sequence[int] | slice) -> dict[str, Any]:
        wanted = np.arange(len(self))[indexes] if isinstance(indexes, slice) else np.atleast_1d(indexes)
        # HDF5 reads rows in ascending order and each once
        rows, back = np.unique(wanted, return_inverse=True)
        batch = {key: values[back] for key, values in self._fields[rows].items()}
        if REGISTRY_KEYS.X_KEY in self.keys_and_dtypes:
            x = self._read(rows)[back].astype(self.keys_and_dtypes[REGISTRY_KEYS.X_KEY], copy=False)
            batch[REGISTRY_KEYS.X_KEY] = self._tensor(x)
        return batch

    def _read(self, rows: np.ndarray) -> Any:
        x = self.data[REGISTRY_KEYS.X_KEY]
        block = x[rows]
        if hasattr(block, "compute"):
            block = block.compute()
        if not sparse.issparse(block):
            return np.asarray(block)
        # zarr fills in zeros for a chunk it does not find
        stored = np.diff(block.indptr) > 0
        held = np.add.reduceat(np.append(block.data != 0, [0]), block.indptr[:-1]) > 0
        if (stored & ~held).any():
            gone = rows[stored & ~held]
            msg = (
                f"the matrix on disk holds nothing but zeros for {len(gone)} cell(s), the first in row {gone[0]}, "
                "where values were stored: its files are damaged, or were removed while they were read. Restore them; "
                "zeros that are meant can be left out with eliminate_zeros()."
            )
            raise OSError(msg)
        return block

    def _tensor(self, x: Any) -> np.ndarray | torch.Tensor:
        if not sparse.issparse(x):
            return x
        if not self.load_sparse_tensor:
            return x.toarray()
        starts, columns = (torch.from_numpy(part.astype(np.int64)) for part in (x.indptr, x.indices))
        return torch.sparse_csr_tensor(starts, columns, torch.from_numpy(x.data), size=x.shape)
