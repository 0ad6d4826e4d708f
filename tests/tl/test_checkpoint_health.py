"""Every saved epoch of a run, judged as the monitor judged it while it ran."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi

import scwhatif as wi
from scwhatif._compat import seeded

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    adata = wi.datasets.simulate_factors(150, 20, 3, n_batches=2, seed=0)
    scvi.model.LinearSCVI.setup_anndata(adata, batch_key="batch")
    monitor = wi.train.EmbeddingMonitor(identity_key="cell_type", exam_key="batch", split="all")
    saver = scvi.train.SaveCheckpoint(dirpath=str(folder), save_top_k=-1, monitor="elbo_validation")
    with seeded(0):
        model = scvi.model.LinearSCVI(adata, n_latent=3)
        model.train(11, check_val_every_n_epoch=1, callbacks=[monitor, saver], enable_checkpointing=True, **SILENT)
    return adata, folder, monitor, model


def test_agrees_with_the_monitor(run):
    adata, folder, monitor, model = run
    before = set(adata.uns)
    known = set(type(model)._setup_adata_manager_store)
    wi.tl.checkpoint_health(
        adata, folder, model_class=scvi.model.LinearSCVI, identity_key="cell_type", exam_key="batch"
    )
    table = adata.uns["checkpoint_health"]["table"]
    # by number, not by name: epoch 10 comes last
    assert table["epoch"].tolist() == list(range(1, 12))
    seen = monitor.table_.iloc[1:].reset_index(drop=True)
    for name in ("mean_cosine", "erank", "active_share", "map", "rank_1", "auc", "ratio", "nn_accuracy"):
        np.testing.assert_allclose(table[name], seen[name], rtol=1e-4, atol=1e-6)
    assert table["verdict"].tolist() == seen["verdict"].tolist()
    assert set(adata.uns) - before == {"checkpoint_health"}
    assert set(type(model)._setup_adata_manager_store) == known


def test_some_cells_of_some_checkpoints(run):
    adata, folder, _, model = run
    adata = adata.copy()
    path = next(each for each in folder.glob("epoch=3-*") if each.is_dir())
    wi.tl.checkpoint_health(adata, [path], model_class=scvi.model.LinearSCVI, indices=np.arange(40))
    row = adata.uns["checkpoint_health"]["table"].iloc[0]
    assert (row["epoch"], row["n"], "map" in row) == (4, 40, False)
    model.save(str(folder / "last"))
    found = wi.tl.checkpoint_health(
        adata, folder / "last", model_class=scvi.model.LinearSCVI, n_cells=30, copy=True
    ).uns["checkpoint_health"]["table"]
    assert found["checkpoint"].tolist() == ["last"]
    assert np.isnan(found["epoch"]).all()
    assert (found["n"] == 30).all()


def test_written_and_read(run, tmp_path):
    adata = run[0].copy()
    wi.tl.checkpoint_health(
        adata,
        [each for each in run[1].glob("epoch=[01]-*") if each.is_dir()],
        model_class=scvi.model.LinearSCVI,
        identity_key="cell_type",
        thresholds={"top1": (0.6, 0.95)},
    )
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = ad.read_h5ad(tmp_path / "cells.h5ad").uns["checkpoint_health"]
    expected = adata.uns["checkpoint_health"]
    pd.testing.assert_frame_equal(found["table"], expected["table"], check_dtype=False)
    assert found["params"]["model_class"] == "LinearSCVI"


def test_bad_input(run, tmp_path):
    adata, folder, _, _ = run
    cls = {"model_class": scvi.model.LinearSCVI}
    with pytest.raises(FileNotFoundError, match="neither it nor a folder in it"):
        wi.tl.checkpoint_health(adata, tmp_path, **cls)
    with pytest.raises(FileNotFoundError, match=r"there is no file model\.pt"):
        wi.tl.checkpoint_health(adata, [tmp_path], **cls)
    with pytest.raises(TypeError, match="holds a LinearSCVI, not a SCVI"):
        wi.tl.checkpoint_health(adata, folder, model_class=scvi.model.SCVI)
    with pytest.raises(KeyError, match="no_column"):
        wi.tl.checkpoint_health(adata, folder, identity_key="no_column", **cls)
    with pytest.raises(ValueError, match="needs identity_key"):
        wi.tl.checkpoint_health(adata, folder, exam_key="batch", **cls)
    with pytest.raises(ValueError, match="positions from 0 to 149"):
        wi.tl.checkpoint_health(adata, folder, indices=[3, 150], **cls)
    with pytest.raises(ValueError, match="n_cells=1"):
        wi.tl.checkpoint_health(adata, folder, n_cells=1, **cls)
