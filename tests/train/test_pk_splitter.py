"""Rows live on the device and are dealt by identity."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS

from scwhatif.model import MetricEncoder
from scwhatif.train import PKSplitter
from scwhatif.train._pk_splitter import MetricRows


@pytest.fixture
def rows() -> MetricRows:
    x = torch.arange(48.0).reshape(16, 3)
    return MetricRows(x, torch.arange(16) // 4, torch.arange(16) % 2)


def test_rows_are_loaded_by_position(rows: MetricRows):
    batch = rows[[5, 0]]
    assert batch[REGISTRY_KEYS.X_KEY].tolist() == [[15.0, 16.0, 17.0], [0.0, 1.0, 2.0]]
    assert batch["identity"].tolist() == [1, 0]
    assert batch["exam"].tolist() == [1, 0]
    assert batch[REGISTRY_KEYS.INDICES_KEY].tolist() == [5, 0]
    assert len(rows) == 16
    rows.exam = None
    assert "exam" not in rows[[1]]


def test_moving_is_done_once(rows: MetricRows):
    x = rows.x
    rows.to(torch.device("cpu"))
    assert rows.x is x
    rows.to(torch.device("meta"))
    assert {rows.x.device.type, rows.identity.device.type, rows.exam.device.type} == {"meta"}


@pytest.mark.parametrize("world_size", [1, 2])
def test_only_training_rows_are_dealt(rows: MetricRows, world_size: int):
    adata = AnnData(obs=pd.DataFrame(index=[str(i) for i in range(16)]), obsm={"z": rows.x.numpy() + 1})
    adata.obs["who"], adata.obs["when"] = rows.identity.numpy(), rows.exam.numpy()
    MetricEncoder.setup_anndata(adata, identity_key="who", exam_key="when", obsm_key="z")
    manager = MetricEncoder(adata).adata_manager
    parts = [np.arange(16), np.zeros(0, dtype=int), np.zeros(0, dtype=int)]
    if world_size == 1:
        parts = [np.arange(12), np.arange(12, 16), np.zeros(0, dtype=int)]
    splitter = PKSplitter(
        manager, rows=rows, gallery=parts[1], sampler={"n_per_identity": 2, "seed": 0}, external_indexing=parts
    )
    splitter.setup()
    dealt = []
    for rank in range(world_size):
        if world_size > 1:
            strategy = SimpleNamespace(root_device=torch.device("cpu"))
            splitter.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, strategy=strategy)
        batches = [batch[REGISTRY_KEYS.INDICES_KEY].tolist() for batch in splitter.train_dataloader()]
        dealt.append({row for batch in batches for row in batch})
    assert set().union(*dealt) == set(parts[0])
    assert sum(len(each) for each in dealt) == len(parts[0])
    assert splitter.val_dataloader() == splitter.test_dataloader() == []
