"""Training on an annbatch collection, where annbatch and a scvi-tools that knows it are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import scwhatif as wi
from scwhatif.model import BetaLinearSCVI

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.optional]


def test_a_collection_of_files_trains_the_model_that_memory_trains(tmp_path: Path):
    pytest.importorskip("annbatch")
    if not hasattr(BetaLinearSCVI, "setup_annbatch"):
        pytest.skip("scvi-tools knows annbatch from 1.5 on")
    adata = wi.datasets.simulate_factors(2000, 40, 3, n_batches=2, library_size=300, seed=0)
    adata.obs["batch"] = ("batch_" + adata.obs["batch"].astype(str)).astype("category")
    paths = [str(tmp_path / f"{name}.h5ad") for name in ("a", "b")]
    for path, rows in zip(paths, (slice(0, 800), slice(800, 2000)), strict=True):
        adata[rows].write_h5ad(path)
    collection = BetaLinearSCVI.setup_annbatch(
        str(tmp_path / "cells.zarr"),
        paths=paths,
        batch_key="batch",
        batch_size=128,
        chunk_size=32,
        preload_nchunks=8,
        preload_to_gpu=False,
        shuffle=True,
    )
    settings = {"seed": 0, "accelerator": "cpu", "enable_progress_bar": False, "check_val_every_n_epoch": 1}
    model = BetaLinearSCVI(registry=collection.registry, n_latent=3, n_hidden=16, seed=0)
    model.train(5, datamodule=collection, train_size=0.9, **settings)
    BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    other = BetaLinearSCVI(adata, n_latent=3, n_hidden=16, seed=0)
    other.train(5, **settings)
    found, wanted = (float(m.history["elbo_validation"].iloc[-1, 0]) for m in (model, other))
    assert found == pytest.approx(wanted, rel=0.02)
    assert found < float(model.history["elbo_validation"].iloc[0, 0])
    assert np.isfinite(model.get_latent_representation(dataloader=collection)).all()
    # weights go over to a model of cells that are to be screened
    model.save(str(tmp_path / "model"), datamodule=collection)
    other.module.load_state_dict(model.module.state_dict())
    wi.tl.knockout(adata, other, n_null=0, progress=False)
    assert adata.var["knockout_score"].notna().any()
    assert torch.equal(other.module.rotation, model.module.rotation)
