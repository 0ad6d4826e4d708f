"""What :class:`scwhatif.model.CellLineEnergyModel` fits before its network, and the tensors it trains on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scwhatif._keys import Key
from scwhatif.model._cell_line_energy_checks import check_lengths
from scwhatif.model._cell_line_energy_normalizer import LineNormalizer
from scwhatif.model._cell_line_energy_rows import EnergyRows, PairTable
from scwhatif.model._cell_line_energy_trees import fit_trees
from scwhatif.module._cell_line_energy import (
    ENVIRONMENT_KEY,
    ENVIRONMENT_OBSERVED_KEY,
    FEATURES_KEY,
    LABEL_KEY,
    LINE_KEY,
    OBSERVED_KEY,
    SEQUENCE_KEY,
)
from scwhatif.train._energy_plan import BLOCK_KEY


class CellLineEnergyInputsMixin:
    """Normalisation by line, boosted trees, and tensors."""

    module: Any
    adata: Any
    is_trained_: bool
    lines: list[str]
    backbone: str
    input_norm: Any
    trees_weight: float
    normalizer_: LineNormalizer | None
    trees_: Any
    _setup: Any
    _n_columns: Any

    def _codes(self) -> tuple[dict[str, int], list[str]]:
        names = list(self.lines)
        names += sorted(set(self.adata.obs[self._setup["cell_line_key"]].astype(str)) - set(names))
        return {name: code for code, name in enumerate(names)}, names

    def _sequence_lengths(self, enhancer: int | None, promoter: int | None) -> tuple[int, int]:
        """Lengths as they are given, as written down beside the sequences, or half of all each."""
        key, n_positions = self._setup["sequence_key"], self._n_columns("sequence")
        written = {} if self.adata is None else self.adata.uns.get(key, {}).get(Key.uns.PARAMS, {})
        if enhancer is None and promoter is None and "enhancer_length" in written:
            enhancer, promoter = int(written["enhancer_length"]), int(written["promoter_length"])
        if enhancer is None:
            enhancer = n_positions // 2 if promoter is None else n_positions - promoter
        promoter = n_positions - enhancer if promoter is None else promoter
        check_lengths(n_positions, key, enhancer, promoter)
        return enhancer, promoter

    def _prepare(self, table: PairTable, training: np.ndarray, seed: int | None) -> EnergyRows:
        """Fit what is fitted beside the network, and put all pairs into tensors."""
        if self.input_norm and self.backbone == "mlp" and self.normalizer_ is None:
            self.normalizer_ = LineNormalizer(self.input_norm).fit(table.features, table.lines)
        features = self._normalized(table)
        if self.trees_weight and self.trees_ is None:
            labelled = training[~np.isnan(table.label[training])]
            self.trees_ = [
                fit_trees(values[labelled], table.label[labelled], seed=seed or 0)
                for values in self._tree_inputs(table)
            ]
        tensors = self._tensors(table, features)
        codes, _ = self._codes()
        tensors[LINE_KEY] = torch.tensor([codes[line] for line in table.lines])
        tensors[LABEL_KEY] = torch.from_numpy(table.label.astype(np.float32))
        if table.chroms is not None:
            tensors[BLOCK_KEY] = torch.from_numpy(np.unique(table.chroms, return_inverse=True)[1])
        if not self.is_trained_:
            self.module.initialize({key: value[torch.from_numpy(training)] for key, value in tensors.items()})
        return EnergyRows(tensors)

    def _tree_inputs(self, table: PairTable) -> list[np.ndarray]:
        """Features of every set of trees: raw, and normalised if the network's are."""
        return [table.features] if self.normalizer_ is None else [table.features, self._normalized(table)]

    def _normalized(self, table: PairTable) -> np.ndarray:
        return table.features if self.normalizer_ is None else self.normalizer_.transform(table.features, table.lines)

    def _tensors(self, table: PairTable, features: np.ndarray) -> dict[str, torch.Tensor]:
        tensors = {}
        if self.backbone == "cnn":
            tensors[SEQUENCE_KEY] = torch.from_numpy(np.asarray(table.sequence, dtype=np.uint8))
        else:
            tensors[FEATURES_KEY] = torch.from_numpy(np.nan_to_num(features, nan=0.0))
            tensors[OBSERVED_KEY] = torch.from_numpy(~np.isnan(features))
        if not self.module.reads_hidden:
            tensors[ENVIRONMENT_KEY] = torch.from_numpy(np.nan_to_num(table.environment, nan=0.0))
            tensors[ENVIRONMENT_OBSERVED_KEY] = torch.from_numpy(~np.isnan(table.environment))
        return tensors


def prior_shift(table: PairTable, training: np.ndarray, positive_share: float | None) -> float:
    """Log-odds by which training on a sampled share of positives raises predictions."""
    if positive_share is None:
        return 0.0
    label = table.label[training]
    natural = np.nanmean(
        [np.nanmean(label[table.lines[training] == line]) for line in np.unique(table.lines[training])]
    )
    return float(np.log(positive_share / (1 - positive_share)) - np.log(natural / (1 - natural)))


def shifted(probability: np.ndarray, shift: float) -> np.ndarray:
    odds = np.clip(probability, 1e-12, 1 - 1e-12)
    return 1 / (1 + np.exp(shift) * (1 - odds) / odds)
