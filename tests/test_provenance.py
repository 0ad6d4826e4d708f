"""Tests of what is recorded about a call."""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from scwhatif._provenance import params, weights_hash

if TYPE_CHECKING:
    from pathlib import Path


def test_arguments_versions_and_model():
    import torch

    model = SimpleNamespace(module=torch.nn.Linear(2, 3))
    recorded = params(model, op="ko", groupby=None, seed=np.int64(3), copy=np.bool_(True))
    assert recorded["op"] == "ko"
    assert type(recorded["seed"]) is int
    assert recorded["copy"] is True
    assert "groupby" not in recorded
    assert recorded["scvi_tools_version"] == version("scvi-tools")
    assert recorded["torch_version"] == version("torch")
    assert recorded["scwhatif_version"] == version("scwhatif")
    assert recorded["model_class"] == "SimpleNamespace"
    assert recorded["model_hash"] == weights_hash(model.module)
    assert "model_hash" not in params(op="ko")


def test_hash_follows_the_weights():
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    before = weights_hash(module)
    assert len(before) == 12
    assert weights_hash(module.eval()) == before
    with torch.no_grad():
        module[0].bias[1] += 1e-6
    changed = weights_hash(module)
    assert changed != before
    module[1].running_mean += 1
    assert weights_hash(module) != changed
    assert weights_hash(module.to(torch.bfloat16)) != changed


def test_survives_a_file(tmp_path: Path):
    import anndata as ad

    recorded = params(
        genes=["B", "A"], none_at_all=[], doses=(0.5, 2.0), nested={"x": [1, 2], "y": None}, op="ko", flag=False
    )
    adata = ad.AnnData(np.zeros((1, 1), np.float32), uns={"params": recorded})
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["params"]
    assert set(back) == set(recorded)
    assert list(back["genes"]) == ["B", "A"]
    assert list(back["doses"]) == [0.5, 2.0]
    assert list(back["nested"]["x"]) == [1, 2]
    assert list(back["none_at_all"]) == []
    assert not back["flag"]


@pytest.mark.parametrize("value", [object(), [1, "a"], {"deep": {1, 2}}, lambda: 0])
def test_what_a_file_cannot_hold(value: object):
    with pytest.raises(TypeError, match="bad"):
        params(bad=value)
