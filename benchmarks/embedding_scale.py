"""Time and memory of the health of an embedding, of its geometry, and of hard pairs among all rows, on one thread.

    python benchmarks/embedding_scale.py [--sizes 10000 100000] [--dims 64] [--groups 50] [--quick]

Rows are drawn about the centres of groups of unequal size. Each size and part runs in a process of its own, so that the
largest resident memory is that of the part; *more* is what it grew by over the data and the libraries. Times are CPU
seconds. ``health`` are all indicators with their verdict, ``geometry`` distances over all pairs (nearest rows of 5000),
``pairs`` the exact search of :func:`scwhatif.train.global_hard_pairs` with its guard rails, and ``hardest`` without.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch

import scwhatif as wi
from scwhatif.metrics._judged_embedding import judged_embedding

PARTS = ("health", "geometry", "pairs", "hardest")


def simulate(n: int, n_dims: int, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows about the centres of groups."""
    rng = np.random.default_rng(0)
    group = rng.choice(n_groups, size=n, p=rng.dirichlet(np.full(n_groups, 2.0)))
    centres = rng.normal(size=(n_groups, n_dims)).astype(np.float32)
    return rng.normal(size=(n, n_dims)).astype(np.float32) + centres[group], group


def memory() -> float:
    """Largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(part: str, n: int, n_dims: int, n_groups: int) -> dict[str, float]:
    """One part at one size; libraries are loaded and warm."""
    call = {
        "health": lambda z, group: judged_embedding(z, groups=group),
        "geometry": lambda z, group: wi.metrics.cluster_geometry(z, group),
        "pairs": lambda z, group: wi.train.global_hard_pairs(z, group),
        "hardest": lambda z, group: wi.train.global_hard_pairs(z, group, positive_quantile=1.0, negative_ranks=(1, 1)),
    }[part]
    call(*simulate(500, n_dims, 5))
    z, group = simulate(n, n_dims, n_groups)
    before, start = memory(), time.process_time()
    call(z, group)
    return {"seconds": time.process_time() - start, "more": memory() - before, "peak": memory()}


def main() -> None:
    """Run all parts at all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--groups", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="10 000 rows only")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.one:
        part, n = arguments.one
        print(json.dumps(measure(part, int(n), arguments.dims, arguments.groups)))
        return
    print(f"rows of {arguments.dims} dimensions in {arguments.groups} groups, one thread\n")
    print("| part | rows | CPU seconds | more memory (MB) | peak (MB) |\n|---|---|---|---|---|")
    for n in [10_000] if arguments.quick else arguments.sizes:
        for part in PARTS:
            command = [sys.executable, __file__, "--one", part, str(n)]
            command += ["--dims", str(arguments.dims), "--groups", str(arguments.groups)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            row = f"{found['seconds']:.2f} | {found['more']:.0f} | {found['peak']:.0f}"
            print(f"| {part} | {n} | {row} |", flush=True)


if __name__ == "__main__":
    main()
