"""Two processes train what one trains. The fits run in processes of their own, never in that of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).with_name("ddp_fits.py")
LAUNCH = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with what one process and two processes have fitted."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for name, launch in (("one", ()), ("two", LAUNCH)):
        command = [sys.executable, *launch, str(SCRIPT), str(folders[name])]
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=500, cwd=folders[name], env=environment, check=False
        )
        assert finished.returncode == 0, finished.stderr[-5000:]
    return folders


def read(folder: Path, model: str, rank: int = 0) -> dict[str, Any]:
    return torch.load(folder / f"{model}_{rank}.pt", weights_only=False)


# metric, how far two processes may be from one, relatively: other noise, and as many cells per step in another order
MODELS = {
    "BetaLinearSCVI": ("objective_validation", 0.005),
    "MultiOmicLPM": ("objective_validation", 0.05),
    "CellLineEnergyModel": ("validation_loss", 0.15),
}


@pytest.mark.parametrize("model", MODELS)
def test_every_process_has_the_same(fits: dict[str, Path], model: str):
    first, second = (read(fits["two"], model, rank) for rank in (0, 1))
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    assert first["history"] == second["history"]
    # no validation cell is trained on anywhere, and the split is that of one process
    alone = read(fits["one"], model)
    for part in ("train", "validation"):
        assert first[part] == second[part] == alone[part]
    assert not set(first["train"]) & set(first["validation"])


@pytest.mark.parametrize("model", MODELS)
def test_the_result_is_that_of_one_process(fits: dict[str, Path], model: str):
    metric, tolerance = MODELS[model]
    several, alone = (read(fits[name], model)["history"][metric] for name in ("two", "one"))
    assert min(several) == pytest.approx(min(alone), rel=tolerance)
    assert min(several) < several[0]


def test_training_stops_early_in_several_processes(fits: dict[str, Path]):
    objective = read(fits["two"], "MultiOmicLPM")["history"]["objective_validation"]
    assert len(objective) < 20
    # two epochs of patience: neither is better than what came before by the least difference
    assert min(objective[-2:]) > min(objective[:-2]) - 1e-3


def test_nothing_is_left_in_the_working_directory(fits: dict[str, Path]):
    """scvi-tools writes the history of several processes there, over that of any other fit."""
    for folder in fits.values():
        assert not (folder / "lightning_logs").exists()
        assert not list(folder.glob(".*"))


def test_models_saved_by_all_processes_at_once_are_whole(fits: dict[str, Path]):
    import scwhatif as wi

    adata = wi.datasets.simulate_factors(240, 30, 3, n_batches=2, seed=0)
    model = wi.model.BetaLinearSCVI.load(str(fits["two"] / "BetaLinearSCVI"), adata)
    for name, value in read(fits["two"], "BetaLinearSCVI")["weights"].items():
        assert torch.equal(model.module.state_dict()[name], value)
    assert np.isfinite(model.get_latent_representation()).all()
