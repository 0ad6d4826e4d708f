"""Train a model on cells that stay on disk and screen genes in them: time and largest resident memory by cells.

    python benchmarks/beyond_memory.py [--cells 1000 10000 100000 1000000] [--features 2000] [--steps 200]
        [--genes 10] [--stored h5ad zarr memory] [--folder DIR] [--json FILE] [--quick]

Cells are simulated (ten groups, a hundred counts each) and written in blocks by one process per size; another process
per size and format opens them, trains ``BetaLinearSCVI`` for ``--steps`` steps of 128 cells in random order, after the
pass over all training cells with which a fit starts, and screens ``--genes`` genes against 20 matched ones each. With
``--stored memory``, the same is done of the same cells read into memory. Memory is the largest resident set of the
process (the kernel's ``VmHWM``); libraries alone are the first column. Times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

N_GROUPS = 10
MEAN_TOTAL = 100
BLOCK = 20_000
QUIET = {"enable_progress_bar": False, "accelerator": "cpu", "devices": 1}
COLUMNS = ("libraries", "opened", "model", "trained", "screened")


def main() -> None:
    """Run all sizes, each in processes of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--genes", type=int, default=10)
    parser.add_argument("--stored", nargs="+", choices=("h5ad", "zarr", "memory"), default=["h5ad", "memory"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="1000 and 10000 cells, 20 steps")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.cells, arguments.steps = [1000, 10_000], 20
    if arguments.one:
        print(json.dumps(one_size(arguments.cells[0], arguments.one, arguments)))
        return
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        arguments.folder = arguments.folder or Path(temporary)
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        print("cells      stored  file MB | resident MB: " + "  ".join(COLUMNS) + " | CPU s: start  step ms  screen")
        for n_cells in arguments.cells:
            for stored in arguments.stored:
                run("write" if stored == "memory" else f"write-{stored}", n_cells, arguments)
                row = run(stored, n_cells, arguments)
                found.append(row)
                memory = "  ".join(f"{row['resident_mb'][name]:{len(name)}.0f}" for name in COLUMNS)
                print(
                    f"{n_cells:<10d} {stored:7s} {row['file_mb']:7.0f} |              {memory} | "
                    f"       {row['start_s']:5.1f}  {row['step_ms']:7.1f}  {row['screen_s']:6.1f}",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


def run(what: str, n_cells: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One step of one size in a process of its own."""
    command = [sys.executable, __file__, "--one", what, "--cells", str(n_cells), "--folder", str(arguments.folder)]
    for name in ("features", "steps", "genes"):
        command += [f"--{name}", str(getattr(arguments, name))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def one_size(n_cells: int, what: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write cells, or train on them and screen them."""
    kind = what.partition("-")[2] or ("h5ad" if what in ("write", "memory") else what)
    path = arguments.folder / f"cells_{n_cells}_{arguments.features}.{kind}"
    if what.startswith("write"):
        if not path.exists():
            write(path, n_cells, arguments.features)
        return {}
    return train_and_screen(path, arguments, in_memory=what == "memory")


def write(path: Path, n_cells: int, n_features: int) -> None:
    """Simulate cells block by block into a file that AnnData reads."""
    import anndata as ad
    import pandas as pd
    from scipy import sparse

    rng = np.random.default_rng(0)
    expected = rng.gamma(0.3, size=(N_GROUPS, n_features)) + 1e-3
    # one ascending sequence, group after group, so that one look-up finds the features of cells of any group
    edges = (np.cumsum(expected / expected.sum(1, keepdims=True), axis=1) + np.arange(N_GROUPS)[:, None]).ravel()
    obs = pd.DataFrame(index=pd.RangeIndex(n_cells).astype(str))
    var = pd.DataFrame(index=[f"gene_{j}" for j in range(n_features)])
    empty = sparse.csr_matrix((0, n_features), dtype=np.float32)
    if path.suffix == ".h5ad":
        import h5py

        file = h5py.File(path.with_suffix(".partial"), "w")
    else:
        import zarr

        file = zarr.open_group(path.with_suffix(".partial"), mode="w")
    # of the size that h5py chooses for a matrix written at once; that of an empty one would be tiny
    ad.io.write_elem(file, "X", empty, dataset_kwargs={"chunks": (2**14,)})
    ad.io.write_elem(file, "var", var)
    x = ad.io.sparse_dataset(file["X"])
    groups = []
    for start in range(0, n_cells, BLOCK):
        size = min(BLOCK, n_cells - start)
        group = rng.integers(N_GROUPS, size=size)
        total = rng.poisson(MEAN_TOTAL, size=size) + 1
        rows = np.repeat(np.arange(size), total)
        columns = np.searchsorted(edges, rng.random(len(rows)) + group[rows]) - group[rows] * n_features
        counts = sparse.coo_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(size, n_features))
        x.append(counts.tocsr())
        groups.append(group)
    obs["group"] = pd.Categorical(np.concatenate(groups).astype(str))
    ad.io.write_elem(file, "obs", obs)
    for name in ("obsm", "varm", "obsp", "varp", "layers", "uns"):
        ad.io.write_elem(file, name, {})
    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    if path.suffix == ".h5ad":
        file.close()
    path.with_suffix(".partial").rename(path)


def read(path: Path) -> AnnData:
    """Cells that stay on disk."""
    import anndata as ad

    if path.suffix == ".h5ad":
        return ad.read_h5ad(path, backed="r")
    import zarr

    group = zarr.open_group(path, mode="r")
    adata = ad.AnnData(obs=ad.io.read_elem(group["obs"]), var=ad.io.read_elem(group["var"]))
    adata.X = ad.io.sparse_dataset(group["X"])
    return adata


def train_and_screen(path: Path, arguments: argparse.Namespace, *, in_memory: bool) -> dict[str, Any]:
    """Largest resident memory after each step, and its time."""
    import torch

    import scwhatif as wi

    torch.set_num_threads(1)
    # libraries that load late, and what is compiled once, are not what grows with cells
    warm_up = wi.datasets.simulate_factors(200, 40, 3, seed=0)
    model = fit(warm_up, {"max_epochs": 1})
    wi.tl.knockout(warm_up, model, n_null=0, progress=False)
    resident = {"libraries": peak_mb()}
    adata = read(path)
    if in_memory:
        adata = adata.to_memory()
    resident["opened"] = peak_mb()
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=10, seed=0)
    resident["model"] = peak_mb()
    settings = {"max_epochs": 1, "seed": 0, **QUIET}
    start = time.process_time()
    model.train(limit_train_batches=1, **settings)
    once = time.process_time() - start
    start = time.process_time()
    # the decoder starts at the moments of the data once only
    model.train(limit_train_batches=arguments.steps, **settings)
    steps = time.process_time() - start
    resident["trained"] = peak_mb()
    start = time.process_time()
    genes = list(adata.var_names[: arguments.genes])
    wi.tl.knockout(adata, model, genes, n_null=20, progress=False)
    screened = time.process_time() - start
    resident["screened"] = peak_mb()
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {
        "n_cells": adata.n_obs,
        "stored": "memory" if in_memory else path.suffix[1:],
        "file_mb": sum(file.stat().st_size for file in files) / 2**20,
        "resident_mb": resident,
        "start_s": once,
        "step_ms": steps / min(arguments.steps, -(-int(0.9 * adata.n_obs) // 128)) * 1e3,
        "screen_s": screened,
    }


def fit(adata: AnnData, settings: dict[str, Any]) -> Any:
    """A small model, trained."""
    import scwhatif as wi

    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=10, seed=0)
    model.train(seed=0, **settings, **QUIET)
    return model


def peak_mb() -> float:
    """Largest resident memory of this process so far; unlike ``ru_maxrss``, not that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


if __name__ == "__main__":
    main()
