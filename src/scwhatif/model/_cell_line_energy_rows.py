"""Rows of pairs as :class:`scwhatif.model.CellLineEnergyModel` reads, splits and loads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scvi.dataloaders import DataSplitter
from torch.utils.data import DataLoader, Dataset

from scwhatif.module._cell_line_energy import GROUP_KEY, LABEL_KEY, LINE_KEY, SUPPORT_KEY
from scwhatif.train import Episode, EpisodeSampler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from scvi.data import AnnDataManager

_CHUNK = 8192


@dataclass
class PairTable:
    """What is read of pairs.

    Attributes
    ----------
    lines
        Name of the cell line of every pair.
    features
        Features of the score, or the embedding, ``(n_pairs, n_features)``, NaN where not measured.
    environment
        Raw features of the environment, ``(n_pairs, n_environment)``.
    sequence
        Codes of the bases, ``(n_pairs, n_positions)``, or ``None``.
    label
        0, 1, or NaN where not known.
    chroms
        Name of the chromosome of every pair, or ``None``.
    """

    lines: np.ndarray
    features: np.ndarray
    environment: np.ndarray
    sequence: np.ndarray | None = None
    label: np.ndarray = field(default_factory=lambda: np.zeros(0))
    chroms: np.ndarray | None = None


def read_pairs(adata: AnnData, setup: Mapping[str, Any], backbone: str) -> PairTable:
    """Read pairs, by the keys of the set-up; the label and the chromosome need not be there.

    Parameters
    ----------
    adata
        Pairs × features.
    setup
        Arguments of ``setup_anndata``.
    backbone
        Which of the inputs is the one of the score.

    Returns
    -------
    The table.
    """
    x = _dense(adata.X if setup["layer"] is None else adata.layers[setup["layer"]])
    environment = _dense(adata.obsm[setup["environment_key"]]) if setup["environment_key"] else x
    features = _dense(adata.obsm[setup["embedding_key"]]) if backbone == "precomputed" else x
    label = np.full(adata.n_obs, np.nan)
    if setup["label_key"] in adata.obs:
        label = adata.obs[setup["label_key"]].to_numpy(dtype=np.float64, na_value=np.nan)
    chrom_key = setup["chrom_key"]
    return PairTable(
        lines=adata.obs[setup["cell_line_key"]].astype(str).to_numpy(dtype=object).astype(str),
        features=features,
        environment=environment,
        sequence=np.asarray(adata.obsm[setup["sequence_key"]]) if backbone == "cnn" else None,
        label=label,
        chroms=adata.obs[chrom_key].astype(str).to_numpy(dtype=object).astype(str)
        if chrom_key is not None and chrom_key in adata.obs
        else None,
    )


def _dense(values: Any) -> np.ndarray:
    if hasattr(values, "to_memory"):
        values = values.to_memory()
    values = values.toarray() if sparse.issparse(values) else values
    return np.asarray(values, dtype=np.float32)


def split_pairs(
    table: PairTable, train_size: float, external_indexing: Sequence[np.ndarray] | None, seed: int | None
) -> list[np.ndarray]:
    """Positions of training, validation and test pairs.

    Parameters
    ----------
    table
        The pairs.
    train_size
        Share of pairs to train on, at least; the rest is for validation.
    external_indexing
        The positions, if they are given.
    seed
        Seeds the split.

    Returns
    -------
    Three arrays. Where chromosomes are known, no chromosome is in two of them unless ``external_indexing`` says so.

    Raises
    ------
    ValueError
        The arrays do not split the rows, or chromosomes are too few to split by.
    """
    n_rows = len(table.lines)
    if external_indexing is not None:
        given = [np.asarray(part, dtype=np.int64) for part in external_indexing]
        parts = given + [np.zeros(0, dtype=np.int64)] * (3 - len(given))
        if len(parts) != 3 or not np.array_equal(np.sort(np.concatenate(parts)), np.arange(n_rows)):
            msg = (
                "external_indexing must hold up to three arrays (training, validation, test) that together are the "
                f"positions 0 to {n_rows - 1}, each once."
            )
            raise ValueError(msg)
        return parts
    if not 0 < train_size <= 1:
        msg = f"train_size={train_size} must be above 0 and at most 1."
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    if train_size == 1:
        return [np.arange(n_rows), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)]
    if table.chroms is None:
        order = rng.permutation(n_rows)
        n_train = int(np.ceil(train_size * n_rows))
        return [order[:n_train], order[n_train:], order[:0]]
    names, counts = np.unique(table.chroms, return_counts=True)
    if len(names) < 2:
        msg = (
            f"All pairs are on {names[0]!r}, so validation pairs would share loci with training pairs. Pass the split "
            "as external_indexing, or train_size=1."
        )
        raise ValueError(msg)
    order = rng.permutation(len(names))
    taken = np.cumsum(counts[order]) <= max((1 - train_size) * n_rows, counts[order[0]])
    validation = np.isin(table.chroms, names[order[taken]])
    return [np.flatnonzero(~validation), np.flatnonzero(validation), np.zeros(0, dtype=np.int64)]


class EnergyRows(Dataset):
    """Tensors with a row per pair, loaded by episode.

    Parameters
    ----------
    tensors
        Tensors by key.
    """

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[LINE_KEY])

    def __getitem__(self, episode: Episode) -> dict[str, torch.Tensor]:
        rows = torch.from_numpy(np.asarray(episode.rows, dtype=np.int64))
        batch = {key: value[rows] for key, value in self.tensors.items()}
        batch[GROUP_KEY] = torch.from_numpy(np.asarray(episode.group, dtype=np.int64))
        batch[SUPPORT_KEY] = torch.from_numpy(np.asarray(episode.support, dtype=bool))
        return batch


class EpisodeSplitter(DataSplitter):
    """Loads training rows in episodes, and validation rows line by line with one support set per line.

    The loaders are torch's own with ``batch_size=None``: scvi-tools' loader puts an axis in front of whatever a
    sampler of the user's yields.

    Parameters
    ----------
    adata_manager
        Manager of the AnnData.
    rows
        Its rows.
    episodes
        Arguments of :class:`scwhatif.train.EpisodeSampler`.
    n_support_validation
        Largest support set of a line in validation.
    **kwargs
        Further arguments of :class:`scvi.dataloaders.DataSplitter`.
    """

    def __init__(
        self,
        adata_manager: AnnDataManager,
        *,
        rows: EnergyRows,
        episodes: dict[str, Any],
        n_support_validation: int = 256,
        **kwargs: Any,
    ) -> None:
        # nothing is batched by the base class, so its warning about a small last batch would mislead
        super().__init__(adata_manager, **{**kwargs, "drop_last": True})
        self.rows = rows
        self.episodes = episodes
        self.n_support_validation = n_support_validation

    def train_dataloader(self) -> DataLoader:
        """Episodes of training rows."""
        index = np.asarray(self.train_idx, dtype=np.int64)
        lines, labels = (self.rows.tensors[key].numpy()[index] for key in (LINE_KEY, LABEL_KEY))
        sampler = EpisodeSampler(lines, labels, **self.episodes)
        trainer = self.trainer
        # a fit that goes on from a checkpoint deals what it would have dealt
        for _ in range(trainer.current_epoch if trainer else 0):
            list(sampler)
        rank, n_ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return DataLoader(self.rows, sampler=_Positions(sampler, index, rank, n_ranks), batch_size=None)

    def val_dataloader(self) -> DataLoader | None:
        """Validation rows."""
        return self._in_order(self.val_idx) if len(self.val_idx) else None

    def test_dataloader(self) -> DataLoader | None:
        """Test rows."""
        return self._in_order(self.test_idx) if len(self.test_idx) else None

    def _in_order(self, index: np.ndarray) -> DataLoader:
        index = np.asarray(index, dtype=np.int64)
        lines = self.rows.tensors[LINE_KEY].numpy()[index]
        labelled = ~np.isnan(self.rows.tensors[LABEL_KEY].numpy()[index])
        rng = np.random.default_rng(self.episodes.get("seed"))
        episodes = []
        for line in np.unique(lines):
            own = index[lines == line]
            support = rng.choice(own, min(self.n_support_validation, len(own)), replace=False)
            asked = index[(lines == line) & labelled]
            for start in range(0, len(asked), _CHUNK):
                chunk = asked[start : start + _CHUNK]
                episodes.append(
                    Episode(
                        rows=np.concatenate([support, chunk]),
                        group=np.zeros(len(support) + len(chunk), dtype=np.int64),
                        support=np.repeat([True, False], [len(support), len(chunk)]),
                    )
                )
        return DataLoader(self.rows, sampler=episodes, batch_size=None)


class _Positions:
    """Episodes of training rows as positions among all rows; every process takes the next one in turn."""

    def __init__(self, sampler: EpisodeSampler, index: np.ndarray, rank: int = 0, n_ranks: int = 1) -> None:
        self.sampler, self.index = sampler, index
        self.rank, self.n_ranks = rank, n_ranks

    def __len__(self) -> int:
        # the same number in every process, or one would wait for the others for ever
        return max(len(self.sampler) // self.n_ranks, 1)

    def __iter__(self) -> Any:
        # all processes deal all episodes, whose order is that of the seed
        dealt = list(self.sampler)
        for turn in range(len(self)):
            episode = dealt[(turn * self.n_ranks + self.rank) % len(dealt)]
            yield Episode(self.index[episode.rows], episode.group, episode.support)
