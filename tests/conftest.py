"""Fixtures for the whole suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# read by matplotlib and tqdm when they are first imported
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TQDM_DISABLE", "1")
# read by torch when it is first imported, which may be within a fixture of a wider scope than the one below
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data, next to the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data are not here: no folder shared/data next to the repository")
    return folder


@pytest.fixture(autouse=True)
def _one_torch_thread():
    """Tests are small; threads only fight for the cores. Torch is not imported for it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
