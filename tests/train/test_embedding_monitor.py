"""A monitor that sees and does not touch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scvi
import torch
from numpy.testing import assert_allclose

import scwhatif as wi
from scwhatif._compat import seeded


def fit(monitor=None, cls=None, epochs=3, **kwargs):
    cls = cls or wi.model.BetaLinearSCVI
    adata = wi.datasets.simulate_factors(200, 30, 3, n_batches=2, seed=0)
    cls.setup_anndata(adata, batch_key="batch")
    callbacks = [] if monitor is None else [monitor]
    with seeded(0):
        model = cls(adata, n_latent=3, **kwargs.pop("model", {}))
        model.train(epochs, enable_progress_bar=False, callbacks=callbacks, **kwargs)
    return model


@pytest.mark.parametrize("name", ["BetaLinearSCVI", "SCVI", "LinearSCVI"])
def test_training_is_the_same_to_the_last_bit(name):
    cls = getattr(scvi.model, name, None) or wi.model.BetaLinearSCVI
    monitor = wi.train.EmbeddingMonitor(identity_key="cell_type", exam_key="batch")
    settings = {"check_val_every_n_epoch": 1}
    plain, watched = fit(None, cls, **settings), fit(monitor, cls, **settings)
    for key in plain.history:
        np.testing.assert_array_equal(plain.history[key].to_numpy(), watched.history[key].to_numpy())
    for key, value in plain.module.state_dict().items():
        assert torch.equal(value, watched.module.state_dict()[key])
    assert monitor.table_["epoch"].tolist() == [0, 1, 2, 3]


def test_what_it_sees_is_what_is_there():
    monitor = wi.train.EmbeddingMonitor(identity_key="cell_type", split="all")
    model = fit(monitor)
    last = monitor.table_.iloc[-1]
    z = model.get_latent_representation()
    assert_allclose(last["erank"], wi.metrics.embedding_indicators(z)["erank"], rtol=1e-5)
    identity = model.adata.obs["cell_type"].astype(str).to_numpy()
    scores = wi.metrics.retrieval_scores(z, identity)
    assert_allclose(last["map"], scores["ap"].mean(), rtol=1e-5)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    squared = np.square(unit[:, None] - unit[None]).sum(axis=2)
    same = identity[:, None] == identity[None]
    assert_allclose(last["intra"], squared[same & ~np.eye(200, dtype=bool)].mean(), rtol=1e-4)
    assert_allclose(last["inter"], squared[~same].mean(), rtol=1e-4)
    assert_allclose(model.history["embedding_map"].to_numpy(float).ravel(), monitor.table_["map"][1:], rtol=1e-5)


def test_training_stops_on_retrieval():
    monitor = wi.train.EmbeddingMonitor(identity_key="cell_type")
    model = fit(
        monitor,
        epochs=30,
        early_stopping=True,
        early_stopping_monitor="embedding_map",
        early_stopping_mode="max",
        early_stopping_min_delta=2.0,  # nothing can improve by as much
        early_stopping_patience=2,
        early_stopping_warmup_epochs=0,
    )
    assert len(model.history["embedding_map"]) == 3


def test_collapse_is_said_once_and_stops():
    monitor = wi.train.EmbeddingMonitor(on_collapse="stop", split="train")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fit(monitor, epochs=40, model={"beta": 1e5}, plan_kwargs={"kl_warmup": 0.0, "lr": 0.05})
    said = [str(each.message) for each in caught if "EmbeddingMonitor" in str(each.message)]
    assert sum("(error)" in each for each in said) == 1
    assert monitor.table_["status"].iloc[-1] == "error"
    assert len(model.history["embedding_top1"]) < 40


def test_same_few_cells_every_time():
    monitor = wi.train.EmbeddingMonitor(n_cells=12, split="train", every_n_epochs=2)
    fit(monitor, epochs=5)
    assert monitor.table_["epoch"].tolist() == [0, 2, 4]
    assert (monitor.table_["n"] == 12).all()


def test_bad_input():
    for kwargs, match in (
        ({"split": "test"}, "split='test'"),
        ({"on_collapse": "ignore"}, "on_collapse='ignore'"),
        ({"n_cells": 0}, "n_cells=0"),
        ({"every_n_epochs": 0}, "every_n_epochs=0"),
        ({"exam_key": "batch"}, "needs identity_key"),
    ):
        with pytest.raises(ValueError, match=match):
            wi.train.EmbeddingMonitor(**kwargs)
    with pytest.raises(KeyError, match="'donor', which is no column"):
        fit(wi.train.EmbeddingMonitor(identity_key="donor"))
