from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scvi
import torch

import scwhatif as wi
from scwhatif.tl._beta_fit import BetaFit, run_fit, shallow

TRAIN = {"max_epochs": 12, "batch_size": 8, "accelerator": "cpu"}


def settings(**changes: Any) -> BetaFit:
    arguments = {
        "model_class": wi.model.BetaLinearSCVI,
        "model": {"beta": 0.01, "n_latent": 2, "n_hidden": 8},
        "setup": {},
        "train": TRAIN,
        "seed": 0,
    }
    return BetaFit(**arguments | changes)


@pytest.fixture(scope="module")
def data() -> Any:
    return wi.datasets.simulate_factors(80, 20, 2, n_cell_types=2, n_batches=1, loading_scale=0.5)


def test_read_only_data_are_enough_and_are_shared(data: Any):
    locked = data.copy()
    locked.X.data.setflags(write=False)
    assert shallow(locked).X.data.base is locked.X.data or np.shares_memory(shallow(locked).X.data, locked.X.data)
    first, second = run_fit(locked, settings()), run_fit(data, settings())
    assert first.scores == second.scores
    np.testing.assert_array_equal(first.factors, second.factors)
    assert "_scvi_uuid" not in locked.uns


def test_seeds_differ_and_factors_are_the_active_loadings(data: Any):
    first, second = run_fit(data, settings()), run_fit(data, settings(seed=1))
    assert first.scores["elbo"] != second.scores["elbo"]
    assert first.scores["n_active"] >= 1
    assert first.factors.shape == (20, int(first.scores["n_active"]))
    assert first.factors.dtype == np.float32


def test_threads_and_logs_are_restored(data: Any, caplog: pytest.LogCaptureFixture):
    logger = logging.getLogger("lightning.pytorch")
    level, n_threads = logger.level, torch.get_num_threads()
    with caplog.at_level(logging.INFO):
        run_fit(data, settings())
    assert not caplog.records
    assert (logger.level, torch.get_num_threads()) == (level, n_threads)


def test_rotation_changes_the_axes_and_not_the_bound(data: Any):
    longer = settings(train={"max_epochs": 30, "batch_size": 8, "accelerator": "cpu"})
    plain, rotated = run_fit(data, longer), run_fit(data, replace(longer, rotate="varimax"))
    assert rotated.scores["elbo"] == pytest.approx(plain.scores["elbo"], abs=0.3)
    assert plain.scores["n_active"] == rotated.scores["n_active"] == 2
    assert not np.allclose(np.abs(rotated.factors), np.abs(plain.factors), atol=1e-3)


class NonLinear(scvi.model.SCVI):
    """A model of scvi-tools with a β, without loadings, whose bound has other terms than ours."""

    def __init__(self, adata: Any, beta: float = 1.0, **kwargs: Any):
        super().__init__(adata, **kwargs)
        self.beta = beta
        self.init_params_ = self._get_init_params(locals())


def test_other_models_give_their_codes(data: Any):
    result = run_fit(data, settings(model_class=NonLinear, model={"beta": 1.0, "n_latent": 2}))
    assert result.factors.shape == (80, int(result.scores["n_active"]))
    assert result.scores["elbo"] == pytest.approx(-result.scores["reconstruction"] - result.scores["kl"])
    assert result.scores["kl"] >= 0


def test_no_validation_cells(data: Any):
    with pytest.raises(ValueError, match="no validation cells are left"):
        run_fit(data, settings(train=TRAIN | {"train_size": 0.9, "validation_size": 0.0}))
    assert not wi.model.BetaLinearSCVI._setup_adata_manager_store.keys() & {data.uns.get("_scvi_uuid")}
