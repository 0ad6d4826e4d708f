"""Train one model in one and in several processes (DDP): time per epoch, and whether the result is the same.

    python benchmarks/devices.py [--ranks 1 2] [--cells 8000] [--features 2000] [--epochs 6] [--batch 256]
        [--accelerator cpu] [--json FILE] [--quick]

The cells per step are the same whatever the number of processes: each takes its share of ``--batch``. Seconds are wall
seconds of an epoch, the least after the first, with one thread per process; more processes than idle cores show
nothing. The objective is the held-out one at the end; ``equal`` says whether all processes end with the same weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Run every number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cells", type=int, default=8000)
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="1000 cells x 200 features, 3 epochs")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.cells, arguments.features, arguments.epochs = 1000, 200, 3
    if arguments.out:
        one_process(arguments)
        return
    rows = [several(n_ranks, arguments) for n_ranks in arguments.ranks]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("processes  s/epoch  against one  held-out objective  equal")
    for row in rows:
        ratio = rows[0]["seconds"] / row["seconds"]
        print(
            f"{row['ranks']:9d}  {row['seconds']:7.2f}  {ratio:10.2f}x  {row['objective']:18.3f}  {row['equal']!s:>5}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


def several(n_ranks: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in some processes, each started by torchrun."""
    import torch

    launch = ["-m", "torch.distributed.run", f"--nproc_per_node={n_ranks}", "--rdzv-backend=c10d"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *launch, "--rdzv-endpoint=localhost:0", __file__, "--out", folder]
        for name in ("cells", "features", "epochs", "batch", "accelerator"):
            command += [f"--{name}", str(getattr(arguments, name))]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        found = [torch.load(file) for file in sorted(Path(folder).glob("*.pt"))]
    first = found[0]
    equal = all(
        torch.equal(first["weights"][name], each["weights"][name]) for each in found for name in first["weights"]
    )
    return {"ranks": n_ranks, "seconds": first["seconds"], "objective": first["objective"], "equal": equal}


def one_process(arguments: argparse.Namespace) -> None:
    """What each process does."""
    import torch
    from lightning.pytorch.callbacks import Callback

    import scwhatif as wi

    class Clock(Callback):
        def __init__(self) -> None:
            self.at: list[float] = []

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.at.append(time.perf_counter())

    n_ranks = int(os.environ["WORLD_SIZE"])
    adata = wi.datasets.simulate_factors(arguments.cells, arguments.features, 8, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = wi.model.BetaLinearSCVI(adata, n_latent=10, seed=0)
    clock = Clock()
    model.train(
        arguments.epochs,
        batch_size=arguments.batch // n_ranks,
        devices=n_ranks,
        accelerator=arguments.accelerator,
        seed=0,
        check_val_every_n_epoch=arguments.epochs,
        enable_progress_bar=False,
        callbacks=[clock],
    )
    epochs = [after - before for before, after in zip(clock.at[1:-1], clock.at[2:], strict=True)]
    torch.save(
        {
            "weights": {name: value.cpu() for name, value in model.module.state_dict().items()},
            "seconds": min(epochs, default=float("nan")),
            "objective": float(model.history["objective_validation"].iloc[-1, 0]),
        },
        arguments.out / f"{os.environ['RANK']}.pt",
    )


if __name__ == "__main__":
    main()
