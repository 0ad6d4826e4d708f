"""The package as it is installed: typed, and light to import beside what it builds on."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files

import pytest

import scwhatif as wi

BESIDE_SCVI = """
import json, sys
import scvi
before = set(sys.modules)
import scwhatif
for name in scwhatif.__all__:
    getattr(scwhatif, name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""
# Brought along by scikit-learn, which scvi-tools imports in part.
WITH_SKLEARN = {"joblib", "scipy", "sklearn", "threadpoolctl"}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_it_is_typed():
    assert files("scwhatif").joinpath("py.typed").is_file()


def test_it_has_a_version_and_nothing_hidden():
    assert wi.__version__.startswith("0.")
    assert "__version__" in dir(wi)


@pytest.mark.slow
def test_all_of_it_brings_nothing_that_scvi_tools_does_not():
    brought = set(json.loads(run(BESIDE_SCVI)))
    assert "scwhatif" in brought
    assert brought <= {"scwhatif"} | WITH_SKLEARN
