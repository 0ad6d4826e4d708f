"""Rows of a MuData whose modalities keep rows of their own, aligned by name, with explicit masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.dataloaders import DataSplitter

from scwhatif.module._multi_omic_vae import OBSERVED_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData
    from scvi.data import AnnDataManager
    from torch.utils.data import DataLoader


@dataclass
class MultiOmicRows:
    """All layers of all samples side by side.

    Attributes
    ----------
    x
        Values, ``(n_rows, n_features)``, 0 where nothing was measured.
    observed
        Whether an entry was measured, bool, same shape.
    codes
        Covariates, ``(n_rows, n_covariates)``, or ``None``.
    """

    x: torch.Tensor
    observed: torch.Tensor
    codes: torch.Tensor | None = None

    def batch(self, rows: Any) -> dict[str, torch.Tensor]:
        """Some rows as the module takes them.

        Parameters
        ----------
        rows
            Positions.

        Returns
        -------
        Tensors by registry key.
        """
        index = torch.as_tensor(np.asarray(rows), dtype=torch.int64)
        tensors = {REGISTRY_KEYS.X_KEY: self.x[index], OBSERVED_KEY: self.observed[index]}
        if self.codes is not None:
            tensors[REGISTRY_KEYS.CAT_COVS_KEY] = self.codes[index]
        return tensors


def read_rows(
    mdata: MuData, names: Sequence[str], *, layers: Mapping[str, str] | None = None, codes: np.ndarray | None = None
) -> MultiOmicRows:
    """Read modalities into one matrix whose rows are ``mdata.obs_names``, whatever the order of their own rows.

    Parameters
    ----------
    mdata
        Samples with modalities.
    names
        Modalities, in the order of the columns.
    layers
        Layer to read, by modality; ``X`` otherwise.
    codes
        Covariates in the order of ``mdata.obs_names``.

    Returns
    -------
    The rows; an entry is measured if its modality has the sample and the value is not NaN.
    """
    widths = [mdata[name].n_vars for name in names]
    x = np.zeros((mdata.n_obs, sum(widths)), dtype=np.float32)
    observed = np.zeros(x.shape, dtype=bool)
    start = 0
    for name, width in zip(names, widths, strict=True):
        adata = mdata[name]
        values = adata.layers[layers[name]] if layers and name in layers else adata.X
        dense = np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float32)
        rows = mdata.obs_names.get_indexer(adata.obs_names)
        block = np.ix_(rows, np.arange(start, start + width))
        there = ~np.isnan(dense)
        x[block], observed[block] = np.where(there, dense, 0.0), there
        start += width
    return MultiOmicRows(
        torch.from_numpy(x), torch.from_numpy(observed), None if codes is None else torch.from_numpy(codes).long()
    )


def split_rows(
    n_obs: int, train_size: float, external_indexing: Sequence[np.ndarray] | None, seed: int | None
) -> list[np.ndarray]:
    """Positions of training, validation and test rows.

    Parameters
    ----------
    n_obs
        Number of rows.
    train_size
        Share of rows to train on; the rest is for validation.
    external_indexing
        The positions, if they are given.
    seed
        Seeds the split.

    Returns
    -------
    Three arrays.

    Raises
    ------
    ValueError
        The arrays do not split the rows, or there are too few to train on.
    """
    if external_indexing is not None:
        given = [np.asarray(part, dtype=np.int64) for part in external_indexing]
        parts = given + [np.zeros(0, dtype=np.int64)] * (3 - len(given))
        if len(parts) != 3 or not np.array_equal(np.sort(np.concatenate(parts)), np.arange(n_obs)):
            msg = (
                f"external_indexing must hold up to three arrays (training, validation, test) that together are "
                f"the positions 0 to {n_obs - 1}, each once."
            )
            raise ValueError(msg)
    else:
        if not 0 < train_size <= 1:
            msg = f"train_size={train_size} must be above 0 and at most 1."
            raise ValueError(msg)
        order = np.random.default_rng(seed).permutation(n_obs)
        n_train = int(np.ceil(train_size * n_obs))
        parts = [order[:n_train], order[n_train:], order[:0]]
    if len(parts[0]) < 4:
        msg = f"Only {len(parts[0])} sample(s) to train on; at least 4 are needed."
        raise ValueError(msg)
    return parts


class RowSplitter(DataSplitter):
    """Splits samples as scvi-tools does, and loads rows that are already aligned and in memory.

    Parameters
    ----------
    adata_manager
        Manager of the MuData.
    rows
        Its aligned rows.
    **kwargs
        Further arguments of :class:`scvi.dataloaders.DataSplitter`.
    """

    def __init__(self, adata_manager: AnnDataManager, *, rows: MultiOmicRows, **kwargs: Any) -> None:
        super().__init__(adata_manager, **kwargs)
        self.rows = rows

    def train_dataloader(self) -> DataLoader:
        """Shuffled training rows."""
        return self._loader(self.train_idx, shuffle=True, drop_last=self.drop_last)

    def val_dataloader(self) -> DataLoader | None:
        """Validation rows."""
        return self._loader(self.val_idx) if len(self.val_idx) else None

    def test_dataloader(self) -> DataLoader | None:
        """Test rows."""
        return self._loader(self.test_idx) if len(self.test_idx) else None

    def _loader(self, indices: np.ndarray, *, shuffle: bool = False, drop_last: bool = False) -> DataLoader:
        return torch.utils.data.DataLoader(
            np.asarray(indices).tolist(),
            batch_size=self.data_loader_kwargs["batch_size"],
            shuffle=shuffle,
            drop_last=drop_last,
            collate_fn=self.rows.batch,
        )
