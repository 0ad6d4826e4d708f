"""The tutorials are as they should be in the repository, and run from top to bottom."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
# Shorter fits and fewer draws: all else runs as written. What the tools find is tested where they are tested.
QUICKER: dict[str, dict[str, str]] = {
    "quickstart": {"max_epochs=100": "max_epochs=10"},
    "reading_a_latent_space": {
        "max_epochs=150": "max_epochs=25",
        '"max_epochs": 40': '"max_epochs": 4',
        "epochs=100": "epochs=5",
        '"epochs": 300': '"epochs": 30',
        "SEEDS = range(3)": "SEEDS = range(1)",
    },
    "in_silico_perturbation": {
        "max_epochs=60": "max_epochs=8",
        "n_sets=20": "n_sets=3",
        "n_permutations=39": "n_permutations=3",
        "train(40, ": "train(12, ",
        "for seed in (1, 2)": "for seed in ()",
        'index=[f"network {i}" for i in range(3)]': 'index=["network 0"]',
    },
    "embedding_health": {
        "max_epochs=40": "max_epochs=8",
        "n_permutations=99": "n_permutations=9",
        "max_epochs=20": "max_epochs=3",
    },
    "unseen_cell_line": {'"max_epochs": 10': '"max_epochs": 3', "max_epochs=30": "max_epochs=10"},
    "scaling_out": {"max_epochs=40": "max_epochs=5", "timed(n_jobs=2)}": "timed(n_jobs=1)}"},
}
# Minutes each: run where SCWHATIF_TUTORIALS=all asks for all of them, and then as written.
LONG = ("multi_omic_what_ifs", "scvi_models")
ALL = os.environ.get("SCWHATIF_TUTORIALS") == "all"
# a call at the end of a cell that shows nothing
SILENT = ("logging.", "warnings.", "torch.", "plt.rcParams", "wi.tl.", "model.train(")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def pictures(cells: list[Any]) -> list[bytes]:
    found = (out.get("data", {}).get("image/png") for cell in cells for out in cell.get("outputs", []))
    return [base64.b64decode(picture) for picture in found if picture]


def shows(source: str) -> bool:
    """Whether a cell prints, draws or ends in a value, but for what it says where a package is missing."""
    body = ast.parse(source).body
    waiting: list[ast.AST] = [node for node in body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    last = body[-1]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "display", "plt.show"}:
            return True
        if isinstance(node, ast.ExceptHandler) and node.type is not None and ast.unparse(node.type) == "ImportError":
            continue
        waiting.extend(ast.iter_child_nodes(node))
    return isinstance(last, ast.Expr) and not ast.unparse(last).startswith(SILENT)


def test_there_are_tutorials():
    assert {path.stem for path in NOTEBOOKS} >= {*QUICKER, *LONG}


def test_executed_in_order_without_errors(path: Path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("x = 1", False),
        ("x = 1\nx", True),
        ("def f():\n    print(1)", False),
        ("for i in y:\n    print(i)", True),
        ("try:\n    import a\nexcept ImportError:\n    print(1)", False),
        ("wi.tl.knockout(adata, model)", False),
        ("table.round(2)", True),
    ],
)
def test_shows(source: str, shown: bool):
    assert shows(source) is shown


def test_what_is_shown_is_there(path: Path):
    missing = [i for i, cell in enumerate(code_cells(path)) if shows("".join(cell["source"])) and not cell["outputs"]]
    assert not missing


def test_pictures_are_small(path: Path):
    drawn = pictures(code_cells(path))
    assert drawn
    assert sum(map(len, drawn)) < 400_000
    assert path.stat().st_size < 400_000


def test_nothing_tells_of_the_machine(path: Path):
    assert not re.findall(r"(?:/home|/root|/tmp|/usr|/opt|/Users|site-packages|ipykernel_\d)[^\s\"]*", path.read_text())


def test_starts_with_a_question_and_ends_with_limits(path: Path):
    texts = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    assert re.match(r"# [^\n]+\n\n\*[^*]+\?[^*]*\*\n", texts[0])
    assert re.findall(r"^## .*", texts[-1], flags=re.MULTILINE)[-1:] == ["## What this does not show"]


def test_in_the_table_of_contents(path: Path):
    listed = (ROOT / "docs" / "tutorials" / "index.md").read_text()
    assert path.stem in listed.split()
    assert f"({path.stem}.ipynb)" in listed


@pytest.mark.slow
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if path.stem in LONG and not ALL:
        pytest.skip("takes minutes: set SCWHATIF_TUTORIALS=all")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    for written, quicker in {} if ALL else QUICKER[path.stem].items():
        found = [cell for cell in notebook.cells if cell.cell_type == "code" and written in cell.source]
        assert len(found) == 1, written
        found[0].source = found[0].source.replace(written, quicker)
    # the notebook draws into itself, whatever the tests draw with
    monkeypatch.delenv("MPLBACKEND", raising=False)
    # and has no data but what comes with the packages
    monkeypatch.delenv("CCLE_H5MU", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert len(pictures(notebook.cells)) == len(pictures(code_cells(path)))
