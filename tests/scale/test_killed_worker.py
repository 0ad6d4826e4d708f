"""A cluster whose worker dies in the middle ends with the same numbers."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import joblib
import pandas as pd
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.optional]

SETTINGS = {
    "model_kwargs": {"n_latent": 3, "n_hidden": 16},
    "train_kwargs": {"max_epochs": 25, "batch_size": 24, "accelerator": "cpu"},
    "progress": False,
}


def simulated():
    return wi.datasets.simulate_factors(160, 30, 3, n_cell_types=3, n_batches=1, seed=0)


def test_a_sweep_survives_a_killed_worker(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    expected = simulated()
    wi.tl.sweep_beta(expected, [0.5, 1.0, 2.0], seeds=2, **SETTINGS)
    found = simulated()
    killed = []
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        pids = client.run(os.getpid)

        def kill_the_first_at_work() -> None:
            deadline = time.monotonic() + 120
            while not killed and time.monotonic() < deadline:
                time.sleep(0.05)
                for worker, tasks in client.processing().items():
                    # workers import for seconds before they fit; only what is under way can be lost
                    if tasks:
                        time.sleep(1)
                        os.kill(pids[worker], signal.SIGKILL)
                        killed.append(worker)
                        break

        killer = threading.Thread(target=kill_the_first_at_work)
        killer.start()
        wi.tl.sweep_beta(found, [0.5, 1.0, 2.0], seeds=2, **SETTINGS)
        killer.join()
        assert set(client.run(os.getpid).values()) != set(pids.values())
    assert len(killed) == 1
    pd.testing.assert_frame_equal(found.uns["sweep_beta"]["table"], expected.uns["sweep_beta"]["table"])
