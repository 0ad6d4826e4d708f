"""The house: arrows run downwards only, private scvi-tools stays in one file, tests mirror the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "scwhatif"
LOWER = ("engine", "metrics", "module", "nn", "perturbation", "train")
UPPER = ("datasets", "model", "pl", "pp", "tl")
ANNDATA = ("anndata", "mudata")


def imports(text: str, package: str) -> set[str]:
    """Every dotted name a file imports, relative imports resolved against ``package``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = [] if node.level == 0 else parts[: len(parts) - node.level + 1]
            base += node.module.split(".") if node.module else []
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return names


def upward(text: str, package: str) -> set[str]:
    """Imports that a room below the line must not have."""
    banned = (*ANNDATA, *(f"scwhatif.{room}" for room in UPPER))
    return {name for name in imports(text, package) if any(f"{name}.".startswith(f"{b}.") for b in banned)}


def private_scvi(text: str) -> set[str]:
    """Private scvi-tools names that a file imports or reaches by attribute."""
    tree = ast.parse(text)
    names = imports(text, "scwhatif")
    names |= {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {
        name
        for name in names
        if name.startswith("scvi.") and any(p.startswith("_") and not p.startswith("__") for p in name.split("."))
    }


def source_files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def package_of(path: Path) -> str:
    return ".".join(["scwhatif", *path.relative_to(SOURCE).parent.parts])


def test_lower_rooms_do_not_know_anndata():
    found = {
        str(path.relative_to(ROOT)): names
        for path in source_files()
        if path.relative_to(SOURCE).parts[0] in LOWER and (names := upward(path.read_text(), package_of(path)))
    }
    assert found == {}


def test_private_scvi_only_in_compat():
    found = {
        str(path.relative_to(ROOT)): names
        for path in source_files()
        if path != SOURCE / "_compat.py" and (names := private_scvi(path.read_text()))
    }
    assert found == {}


def test_every_module_has_a_mirror():
    missing = [
        f"{path.relative_to(ROOT)} -> {mirror.relative_to(ROOT)}"
        for path in SOURCE.rglob("*/_[!_]*.py")
        if not (mirror := ROOT / "tests" / path.relative_to(SOURCE).parent / f"test{path.name}").exists()
    ]
    assert not missing, "\n".join(sorted(missing))


@pytest.mark.parametrize(
    ("text", "banned"),
    [
        ("import anndata as ad", {"anndata"}),
        ("from anndata import AnnData", {"anndata.AnnData"}),
        ("from scwhatif import tl", {"scwhatif.tl"}),
        ("from ..tl._knockout import knockout", {"scwhatif.tl._knockout.knockout"}),
        ("from .. import pp", {"scwhatif.pp"}),
        ("if TYPE_CHECKING:\n    from mudata import MuData", {"mudata.MuData"}),
        ("from ..nn import decoder\nfrom ._screen import run\nimport torch", set()),
    ],
)
def test_upward_imports_are_seen(text: str, banned: set[str]):
    assert upward(text, "scwhatif.engine") == banned


@pytest.mark.parametrize(
    ("text", "banned"),
    [
        ("from scvi._types import Tensor", {"scvi._types.Tensor"}),
        ("from scvi.data import _constants", {"scvi.data._constants"}),
        ("import scvi.model._utils", {"scvi.model._utils"}),
        ("import scvi\nscvi.model._utils", {"scvi.model._utils"}),
        ("import scvi\nscvi.__version__\nfrom scvi.nn import Encoder\nself._scvi", set()),
    ],
)
def test_private_names_are_seen(text: str, banned: set[str]):
    assert private_scvi(text) == banned
