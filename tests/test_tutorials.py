"""The tutorials are as they should be in the repository, and run from top to bottom."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
# Shorter fits of fewer seeds: all else runs as written. What the fits find is tested in test_continuous_data.py.
QUICKER = {
    "reading_a_latent_space": {
        "max_epochs=150": "max_epochs=25",
        '"max_epochs": 40': '"max_epochs": 4',
        "epochs=100": "epochs=5",
        '"epochs": 300': '"epochs": 30',
        "SEEDS = range(3)": "SEEDS = range(1)",
    }
}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_are_tutorials():
    assert NOTEBOOKS


def test_executed_in_order_without_errors(path: Path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]


def test_pictures_are_small(path: Path):
    pictures = [
        base64.b64decode(out["data"]["image/png"])
        for cell in code_cells(path)
        for out in cell["outputs"]
        if "image/png" in out.get("data", {})
    ]
    assert pictures
    assert sum(map(len, pictures)) < 400_000


def test_nothing_tells_of_the_machine(path: Path):
    assert not re.findall(r"(?:/home|/root|/tmp|/usr|/opt|/Users|site-packages|ipykernel_\d)[^\s\"]*", path.read_text())


def test_in_the_table_of_contents(path: Path):
    assert path.stem in (ROOT / "docs" / "tutorials" / "index.md").read_text().split()


@pytest.mark.slow
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    for written, quicker in QUICKER[path.stem].items():
        found = [cell for cell in notebook.cells if written in cell.source]
        assert len(found) == 1, written
        found[0].source = found[0].source.replace(written, quicker)
    # the notebook draws into itself, whatever the tests draw with
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    drawn = sum("image/png" in out.get("data", {}) for out in outputs)
    assert drawn == sum("image/png" in out.get("data", {}) for cell in code_cells(path) for out in cell["outputs"])
