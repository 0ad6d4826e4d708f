"""Run all benchmark scripts of this folder, one after the other, and write what they print to one page.

    python benchmarks/run_all.py [--data PATH] [--full] [--only NAME ...] [--timeout SECONDS] [--python PATH]
        [--results benchmarks/results.json] [--page docs/benchmarks.md] [--render]

Each script runs in a process of its own, with one thread, in small sizes, or with ``--full`` in those that README and
user guide quote. Recorded are the command, what it printed, its exit status, wall and CPU seconds, the largest resident
memory of the process and its children, the machine and its load, and the versions. A script that fails, is not done in
time or lacks its data is recorded as such, and the others go on.

Results of scripts that are not run again stay in the file of results. ``--render`` runs nothing and writes the page
anew. A script that is added to the folder is found by itself; it gets ``--data`` and, in small sizes, ``--quick`` if it
takes them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import datetime
import itertools
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
PACKAGES = ("scwhatif", "scvi-tools", "torch", "lightning", "anndata", "numpy", "numba", "scikit-learn")
DATA = "DATA"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg", "TQDM_DISABLE": "1"}
_MODELS = ("--models", "betalinear", "scvi")


class Sizes(NamedTuple):
    """Command lines of one script, small and as quoted; several are run one after the other."""

    quick: tuple[tuple[str, ...], ...]
    full: tuple[tuple[str, ...], ...]


KNOWN = {
    "cell_line_energy": Sizes(
        quick=(("--folds", "1", "--epochs", "2", "--methods", "prevalence", "logistic", "mlp"),),
        full=(("--folds", "1", "3", "4"),),
    ),
    "continuous_data": Sizes(quick=(("--seeds", "2", "--only", "breast", "two_factors"),), full=((),)),
    "disentanglement": Sizes(
        quick=(("--seeds", "2", "--epochs", "20", "--sets", "mixology3", "--models", "beta1", "linearscvi"),),
        full=(("--epochs", "40"), ("--epochs", "150")),
    ),
    "driver_controls": Sizes(quick=(("--epochs", "5", "--permuted", "0"),), full=((),)),
    "knockout_speed": Sizes(quick=(("--parts", "genes", "kernel", "sets"),), full=((),)),
    "linear_scvi": Sizes(
        quick=(
            ("speed", "--genes", "2000", "--repeats", "2"),
            ("quality", "--seeds", "1", "--epochs", "20", "--genes", "500"),
        ),
        full=(("speed",), ("quality",)),
    ),
    "multi_omic": Sizes(
        quick=(("--scheme", "random", "--folds", "0", "--methods", "mean", "lineage", "ridge", "stack_lineage"),),
        full=((),),
    ),
    "norman": Sizes(
        quick=(("--seeds", "1", "--epochs", "20", "--splits", "4", "--draws", "2", *_MODELS),),
        full=(("--epochs", "60", *_MODELS),),
    ),
    "planted_network": Sizes(
        quick=(("--seeds", "2", "--cells", "800", "--genes", "300", "--epochs", "20"),), full=((),)
    ),
    "snp_shift": Sizes(
        quick=(
            (
                *("--seeds", "2", "--cells", "500", "--genes", "600", "--epochs", "15", "--permutations", "9"),
                *("--factors", "1", "4", "--fit-factors", "4"),
            ),
        ),
        full=((),),
    ),
}
INTRODUCTION = """\
This page is written by `python benchmarks/run_all.py` from what the scripts of `benchmarks/` printed; no number in it
was typed. *Quick* runs are small, with few seeds: they show that a script runs and what it prints, and their scores are
not those of the README and the user guide, which name the command behind each number. Wall time counts little on a
machine with a load; CPU time hardly sees it."""
# Subcommands that read nothing from disk although their script has an option for it.
WITHOUT_DATA = (("linear_scvi", "speed"),)


def scripts(folder: Path) -> dict[str, Path]:
    """Benchmarks of a folder by name."""
    found = sorted(folder.glob("*.py"))
    return {path.stem: path for path in found if not path.stem.startswith("_") and path.stem != Path(__file__).stem}


def commands(name: str, source: str, *, full: bool, data: Path | None) -> list[tuple[str, ...]]:
    """Arguments of each run of a script, ``DATA`` standing for the folder of the data."""
    quick = ("--quick",) if '"--quick"' in source else ()
    sizes = KNOWN.get(name, Sizes(quick=(quick,), full=((),)))
    runs = []
    for arguments in sizes.full if full else sizes.quick:
        reads = '"--data"' in source and (name, *arguments[:1]) not in WITHOUT_DATA
        needed = re.search(r'"--data"[^)]*required=True', source) is not None
        runs.append((*arguments, "--data", DATA) if reads and (data is not None or needed) else arguments)
    return runs


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def execute(
    script: Path, arguments: tuple[str, ...], *, data: Path | None, timeout: float, python: str
) -> dict[str, Any]:
    """Run one command line and say how it went."""
    shown = f"python benchmarks/{script.name} {' '.join(arguments)}".strip()
    run: dict[str, Any] = {"command": shown, "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    if DATA in arguments and data is None:
        return {**run, "status": "no data", "output": "", "error": "needs --data"}
    given = [str(data) if each == DATA else each for each in arguments]
    environment = {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "TQDM_DISABLE": "1",
    } | os.environ
    run["machine"] = machine()
    late: list[bool] = []
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        # in a session of its own, so that what it starts ends with it
        process = subprocess.Popen(
            [python, str(script), *given], stdout=out, stderr=err, env=environment, start_new_session=True
        )
        timer = threading.Timer(timeout, _end, (process.pid, late))
        timer.start()
        _, code, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(code)
        wall = time.perf_counter() - start
        output, error = (file.seek(0) or file.read() for file in (out, err))
    status = "timeout" if late else "ok" if process.returncode == 0 else "failed"
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        **run,
        "status": status,
        "exit": process.returncode,
        "wall_s": round(wall, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_mib": round(usage.ru_maxrss * unit / 2**20),
        "output": _without_paths(output, data).strip(),
        "error": "" if status == "ok" else _without_paths("\n".join(error.strip().splitlines()[-3:]), data),
    }


def _end(pid: int, late: list[bool]) -> None:
    late.append(True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _without_paths(text: str, data: Path | None) -> str:
    """Text without the folders of this machine, which say nothing to a reader."""
    for folder, name in ((data, DATA), (HERE.parent, "."), (Path(sys.prefix), "python"), (Path.home(), "~")):
        if folder is not None and str(folder) != "/":
            text = text.replace(str(folder), name)
    return text


def question(source: str) -> str:
    """First sentence of what a script says of itself."""
    return (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].replace("\n", " ").strip()


def render(results: dict[str, Any]) -> str:
    """Write the page.

    Headings and numbers are those of the results; what was not run is named.
    """
    lines = [
        "# Benchmarks",
        "",
        *INTRODUCTION.splitlines(),
        "",
        "| script | sizes | status | wall s | CPU s | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    done = {name: entry for name, entry in results.items() if entry["runs"]}
    for name, entry in done.items():
        for run in entry["runs"]:
            cells = [f"[{name}](#{name.replace('_', '-')})", entry["sizes"], run["status"]]
            cells += [str(run.get(key, "")) for key in ("wall_s", "cpu_s", "peak_memory_mib")]
            lines.append(f"| {' | '.join(cells)} |")
    if len(done) < len(results):
        lines += ["", "Not run in this table:", ""]
        lines += [f"- `{name}.py`: {entry['asks']}" for name, entry in results.items() if name not in done]
    for name, entry in done.items():
        lines += ["", f"## {name}", "", entry["asks"]]
        for run in entry["runs"]:
            lines += ["", *_shown(run)]
    return "\n".join(lines) + "\n"


def _shown(run: dict[str, Any]) -> list[str]:
    """Lines of one run: command, machine, and what was printed, tables as tables."""
    lines = ["```bash", run["command"], "```", ""]
    if run["status"] != "ok":
        return [*lines, f"**{run['status']}**", "", "```text", *run["error"].splitlines(), "```"]
    on, versions = run["machine"], run["machine"]["versions"]
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines += [
        f"{run['date']}, {on['cpu']}, {on['cores']} cores, {on['memory_gib']} GiB, load {on['load']}, {on['system']}, "
        f"Python {on['python']}, {listed}.",
        "",
    ]
    for is_table, block in itertools.groupby(run["output"].splitlines(), lambda line: line.startswith("|")):
        text = list(block)
        if is_table:
            lines += [*text, ""]
        elif any(line.strip() for line in text):
            lines += ["```text", *"\n".join(text).strip("\n").splitlines(), "```", ""]
    return lines[:-1]


def main() -> None:
    """Run, record, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the public data sets named in the README")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds per command")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--folder", type=Path, default=HERE, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    parser.add_argument("--render", action="store_true")
    arguments = parser.parse_args()
    found = scripts(arguments.folder)
    if unknown := sorted(set(arguments.only or ()) - set(found)):
        parser.error(f"--only names {unknown}; there are {list(found)}")
    before = json.loads(arguments.results.read_text()) if arguments.results.is_file() else {}
    results: dict[str, Any] = {}
    for name, script in found.items():
        source = script.read_text()
        results[name] = {**before.get(name, {"runs": []}), "asks": question(source)}
    for name in [] if arguments.render else arguments.only or list(found):
        runs = []
        for each in commands(name, found[name].read_text(), full=arguments.full, data=arguments.data):
            run = execute(found[name], each, data=arguments.data, timeout=arguments.timeout, python=arguments.python)
            print(f"{run['status']:8} {run.get('wall_s', 0):8.1f} s  {run['command']}", flush=True)
            runs.append(run)
        results[name] |= {"runs": runs, "sizes": "as quoted" if arguments.full else "quick"}
        # after every script, so that what was run is kept when the whole is killed
        _write(arguments, results)
    _write(arguments, results)
    states = [run["status"] for entry in results.values() for run in entry["runs"]]
    print(f"{states.count('ok')} ok, {len(states) - states.count('ok')} not; {arguments.page.name} written")


def _write(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    arguments.results.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    arguments.page.write_text(render(results))


if __name__ == "__main__":
    main()
