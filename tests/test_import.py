"""Importing the package is light and leaves the process as it was."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import scwhatif as wi

PROBE = """
import json, logging, sys, warnings
filters = list(warnings.filters)
import scwhatif
print(json.dumps({
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    "handlers": [repr(h) for name in (None, "scwhatif") for h in logging.getLogger(name).handlers
                 if not isinstance(h, logging.NullHandler)],
    "level": logging.getLogger().level,
    "filters_unchanged": filters == list(warnings.filters),
}))
"""


@pytest.fixture(scope="module")
def fresh_import() -> dict:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["torch", "lightning", "scvi", "scanpy", "matplotlib", "pandas", "sklearn", "numba"])
def test_heavy_package_is_not_imported(fresh_import: dict, name: str):
    assert name not in fresh_import["modules"]


def test_no_log_handler_is_installed(fresh_import: dict):
    assert fresh_import["handlers"] == []
    assert fresh_import["level"] == 30


def test_no_warning_filter_is_changed(fresh_import: dict):
    assert fresh_import["filters_unchanged"]


def test_every_public_name_is_there():
    assert set(wi.__all__) <= set(dir(wi))
    for name in wi.__all__:
        assert getattr(wi, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonexistent"):
        _ = wi.nonexistent
