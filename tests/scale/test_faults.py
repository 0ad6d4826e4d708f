"""What is left when a file is damaged or removed, a disk is full, or a fit is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SILENT = {"accelerator": "cpu", "enable_progress_bar": False, "seed": 0}


def beta_linear(adata: ad.AnnData | None = None) -> Any:
    adata = wi.datasets.simulate_factors(160, 30, 3, n_batches=2, seed=0) if adata is None else adata
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    return wi.model.BetaLinearSCVI(adata, n_latent=3, n_hidden=8, seed=0)


def multi_omic() -> Any:
    mdata = wi.datasets.simulate_flow(60, n_rna=30, n_protein=20, n_ptm=(5, 8, 10), n_metabolites=6)
    wi.model.MultiOmicLPM.setup_mudata(
        mdata, rna="rna", protein="protein", ptm=["ptm_0", "ptm_1", "ptm_2"], metabolome="metabolome"
    )
    return wi.model.MultiOmicLPM(mdata, n_latent=4, n_hidden=16)


def energy() -> Any:
    adata = wi.datasets.simulate_pairs(n_cell_lines=4, n_chroms=4, n_promoters=6, seed=0)
    wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line", chrom_key="chrom")
    return wi.model.CellLineEnergyModel(adata, n_latent=8, n_hidden=8, n_environment=4, trees_weight=0.0)


# everything with a state: a schedule, early stopping, the best weights so far, a sampler with decks of its own
MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "BetaLinearSCVI": (beta_linear, {"max_epochs": 6, "batch_size": 32, "plan_kwargs": {"lr_schedule": "cosine"}}),
    "MultiOmicLPM": (multi_omic, {"max_epochs": 6, "batch_size": 16}),
    "CellLineEnergyModel": (energy, {"max_epochs": 6, "n_support": 8, "n_query": 8, "plan_kwargs": {"lr": 1e-2}}),
}


class Fault(Callback):
    """Something happens in the middle of an epoch."""

    def __init__(self, happen: Callable[[], None], epoch: int = 3) -> None:
        self.happen, self.epoch = happen, epoch
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            self.weights = {name: value.clone() for name, value in pl_module.module.state_dict().items()}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            self.happen()


def power_cut() -> None:
    raise RuntimeError("power cut")


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def assert_same(one: Any, other: Any) -> None:
    for name, value in one.module.state_dict().items():
        assert torch.equal(other.module.state_dict()[name], value), name
    assert set(one.history) == set(other.history)
    for name, frame in one.history.items():
        assert list(other.history[name].index) == list(frame.index), name
        np.testing.assert_array_equal(other.history[name].astype(float), frame.astype(float), err_msg=name)


@pytest.fixture(scope="module", params=MODELS)
def whole(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A fit that nothing happens to."""
    make, settings = MODELS[request.param]
    model = make()
    model.train(early_stopping=True, **SILENT, **settings)
    return request.param, model


def test_a_fit_goes_on_as_if_it_had_not_been_stopped(whole: tuple[str, Any], tmp_path: Path):
    name, wanted = whole
    make, settings = MODELS[name]
    path = tmp_path / "fit.ckpt"
    with pytest.raises(RuntimeError, match="power cut"):
        make().train(early_stopping=True, checkpoint=path, callbacks=[Fault(power_cut)], **SILENT, **settings)
    model = make()
    model.train(early_stopping=True, checkpoint=path, **SILENT, **settings)
    assert_same(wanted, model)
    # a fit that is over trains no further
    again = make()
    again.train(early_stopping=True, checkpoint=path, **SILENT, **settings)
    assert_same(wanted, again)


def test_ctrl_c_keeps_the_last_whole_epoch(whole: tuple[str, Any]):
    name, wanted = whole
    make, settings = MODELS[name]
    model, fault = make(), Fault(interrupt)
    with pytest.raises(KeyboardInterrupt, match="in epoch 3"):
        model.train(early_stopping=True, callbacks=[fault], **SILENT, **settings)
    assert model.is_trained
    assert not model.module.training
    for key, frame in wanted.history.items():
        # dimensions are named in the order they have at the end
        if not key.startswith("kl_z"):
            np.testing.assert_array_equal(model.history[key].astype(float), frame.iloc[:3].astype(float), err_msg=key)
    np.testing.assert_array_equal(model.train_indices, wanted.train_indices)
    np.testing.assert_array_equal(model.validation_indices, wanted.validation_indices)
    # as at the end of that epoch, and then tidied up as after any fit
    kept = make()
    kept.module.load_state_dict(fault.weights)
    if name == "BetaLinearSCVI":
        kept.module.eval()
        kept.module.canonicalize()
    if name != "CellLineEnergyModel":
        for key, value in kept.module.state_dict().items():
            torch.testing.assert_close(model.module.state_dict()[key], value, msg=key)


def test_an_interruption_in_the_first_epoch_leaves_an_untrained_model():
    model = beta_linear()
    with pytest.raises(KeyboardInterrupt, match="in epoch 0"):
        model.train(6, callbacks=[Fault(interrupt, epoch=0)], **SILENT)
    assert not model.is_trained
    model.train(1, **SILENT)
    assert model.is_trained


@pytest.mark.parametrize("whole", ["BetaLinearSCVI"], indirect=True)
def test_a_full_disk_leaves_the_checkpoint_before(whole: tuple[str, Any], tmp_path: Path):
    import resource

    name, wanted = whole
    path = tmp_path / "fit.ckpt"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fill = Fault(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1])))
    settings = {"early_stopping": True, "checkpoint": path, **SILENT, **MODELS[name][1]}
    try:
        with pytest.raises(OSError, match="too large"):
            beta_linear().train(callbacks=[fill], **settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    model = beta_linear()
    model.train(**settings)
    assert_same(wanted, model)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.ckpt"]


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path):
    path = tmp_path / "fit.ckpt"
    beta_linear().train(1, checkpoint=path, **SILENT)
    with pytest.raises(ValueError, match=r"differs in max_epochs \(there 1, here 2\)"):
        beta_linear().train(2, checkpoint=path, **SILENT)
    with pytest.raises(ValueError, match="needs a seed"):
        beta_linear().train(1, checkpoint=path, **SILENT | {"seed": None})


def test_a_model_that_cannot_go_on_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wi.model.BetaLinearSCVI, "_resumable", False)
    with pytest.raises(ValueError, match="BetaLinearSCVI cannot go on from a checkpoint"):
        beta_linear().train(1, checkpoint=tmp_path / "fit.ckpt", **SILENT)


def test_a_truncated_file_is_an_error_before_anything_is_trained(tmp_path: Path):
    path = tmp_path / "cells.h5ad"
    wi.datasets.simulate_factors(160, 30, 3, seed=0).write_h5ad(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(OSError, match="truncated file"):
        ad.read_h5ad(path, backed="r")


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed")
@pytest.mark.parametrize("whole", ["BetaLinearSCVI"], indirect=True)
def test_a_file_removed_while_it_is_read_changes_nothing(whole: tuple[str, Any], tmp_path: Path):
    name, wanted = whole
    path = tmp_path / "cells.h5ad"
    wanted.adata.copy().write_h5ad(path)
    adata = ad.read_h5ad(path, backed="r")
    model = beta_linear(adata)
    model.train(early_stopping=True, callbacks=[Fault(path.unlink)], **SILENT, **MODELS[name][1])
    assert not path.exists()
    assert_same(wanted, model)
    adata.file.close()


def test_a_file_closed_while_it_is_read_stops_the_fit(tmp_path: Path):
    path = tmp_path / "cells.h5ad"
    wi.datasets.simulate_factors(160, 30, 3, n_batches=2, seed=0).write_h5ad(path)
    adata = ad.read_h5ad(path, backed="r")
    model = beta_linear(adata)
    with pytest.raises((OSError, ValueError, RuntimeError, KeyError)):
        model.train(6, callbacks=[Fault(adata.file.close)], **SILENT)
    assert not model.is_trained


@pytest.mark.slow
def test_a_killed_process_leaves_a_checkpoint(tmp_path: Path):
    path = tmp_path / "fit.ckpt"
    script = f"""
import importlib.util, os, signal
spec = importlib.util.spec_from_file_location("faults", {__file__!r})
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)
kill = faults.Fault(lambda: os.kill(os.getpid(), signal.SIGKILL))
make, settings = faults.MODELS["BetaLinearSCVI"]
make().train(checkpoint={str(path)!r}, callbacks=[kill], **faults.SILENT, **settings)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    wanted, model = beta_linear(), beta_linear()
    wanted.train(**SILENT, **MODELS["BetaLinearSCVI"][1])
    model.train(checkpoint=path, **SILENT, **MODELS["BetaLinearSCVI"][1])
    assert_same(wanted, model)
