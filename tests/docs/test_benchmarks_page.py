"""One command runs all benchmarks, survives those that fail, and writes the page of the docs."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]

GOOD = '''"""Is it good?

Details.
"""
import argparse
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--data", type=Path)
arguments = parser.parse_args()
block = bytearray(60 * 2**20)
print("quick" if arguments.quick else "full", arguments.data)
print("| score |")
print("|---|")
print("| 0.5 |")
'''
BAD = '"""Does it fail?"""\nraise SystemExit("out of luck")\n'
SLOW = '"""Does it end?"""\nimport time\n\ntime.sleep(60)\n'
NEEDY = '"""Has it data?"""\nimport argparse\n\nargparse.ArgumentParser().add_argument("--data", required=True)\n'


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_all", ROOT / "benchmarks" / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_all"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name, text in {"good": GOOD, "bad": BAD, "slow": SLOW, "needy": NEEDY, "_helper": GOOD}.items():
        (folder / f"{name}.py").write_text(text)

    def call(*arguments: str) -> tuple[dict[str, Any], str]:
        results, page = tmp_path / "results.json", tmp_path / "page.md"
        given = ["run_all", "--folder", str(folder), "--results", str(results), "--page", str(page), *arguments]
        monkeypatch.setattr(sys, "argv", given)
        suite.main()
        return json.loads(results.read_text()), page.read_text()

    return call


def test_every_outcome_is_recorded(run, tmp_path: Path):
    run("--timeout", "1", "--only", "slow")
    results, page = run("--only", "good", "bad", "needy")
    assert list(results) == ["bad", "good", "needy", "slow"]
    status = {name: entry["runs"][0]["status"] for name, entry in results.items()}
    assert status == {"bad": "failed", "good": "ok", "needy": "no data", "slow": "timeout"}
    good = results["good"]["runs"][0]
    assert good["output"] == "quick None\n| score |\n|---|\n| 0.5 |"
    assert good["command"] == "python benchmarks/good.py --quick"
    # at least its block; Linux counts the memory of the process it was forked from
    assert good["peak_memory_mib"] >= 60
    assert 0 <= good["cpu_s"] <= good["wall_s"] + 0.1
    assert good["machine"]["cores"] > 0
    assert "scwhatif" in good["machine"]["versions"]
    assert results["slow"]["runs"][0]["wall_s"] < 60
    assert "out of luck" in results["bad"]["runs"][0]["error"]
    assert "\n| score |\n|---|\n| 0.5 |\n" in page
    assert "**failed**" in page
    assert "**timeout**" in page
    assert "| [good](#good) | quick | ok |" in page
    assert str(tmp_path) not in page


def test_results_stay_until_a_script_is_run_again(run, tmp_path: Path):
    first, _ = run("--only", "good", "--data", str(tmp_path))
    assert first["good"]["runs"][0]["output"].startswith("quick DATA")
    assert first["bad"]["runs"] == []
    second, page = run("--only", "bad")
    assert second["good"] == first["good"]
    assert "Not run in this table:\n\n- `needy.py`: Has it data?\n- `slow.py`: Does it end?\n" in page
    third, again = run("--render")
    assert (third, again) == (second, page)
    full, _ = run("--only", "good", "--full")
    assert full["good"]["runs"][0]["output"].startswith("full None")
    assert full["good"]["sizes"] == "as quoted"


def test_an_unknown_name_is_refused(run):
    with pytest.raises(SystemExit):
        run("--only", "nothing")


def test_known_command_lines_are_of_scripts_that_take_them(suite: ModuleType):
    found = suite.scripts(ROOT / "benchmarks")
    assert set(suite.KNOWN) <= set(found)
    for name, sizes in suite.KNOWN.items():
        source = found[name].read_text()
        for arguments in (*sizes.quick, *sizes.full):
            for option in arguments:
                assert not option.startswith("--") or f'"{option}"' in source, (name, option)
        assert suite.question(source).endswith((".", "?")), name


def test_the_page_is_what_the_results_say(suite: ModuleType):
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert page == suite.render(results)
    assert any(run["status"] == "ok" for entry in results.values() for run in entry["runs"])
    assert not [word for word in ("/home/", "/tmp/", "/root", "site-packages") if word in page]
