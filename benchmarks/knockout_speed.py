"""Time screens next to the ways they are done without one, on the same model and data, in one run, on one thread.

    python benchmarks/knockout_speed.py [--parts genes wide layers kernel sets pairs growth] [--model SCVI]
        [--peer-genes 5] [--sizes 10000 100000] [--folder DIR]

genes    knockout of all genes, 5000 cells x 2000 genes
wide     the same, 1000 cells x 20000 genes
layers   the same as genes, with an encoder of two hidden layers (batched, not the compiled loop)
kernel   rate of the compiled loop beside that of a dense matrix product
sets     1000 matched random gene sets of 38 in 5000 cells
pairs    knockout of all pairs of 2000 genes in 5000 cells
growth   knockout of all genes in cells x 20000 genes on disk: time and largest resident memory, one process per size

The peers are the loop over ``get_latent_representation`` on a copy of the data with one gene at zero, and a torch loop
that keeps the transformed dense matrix in memory and encodes it with one column at zero. A peer is timed on
``--peer-genes`` genes and extrapolated to all, because its cost per gene does not depend on the gene; factors beside
peers are extrapolations. Times are CPU seconds, the least of repeats, and those of the screen include reading the data
and counting. The error is the largest difference of any cell's posterior mean from the peer's, over the genes the peer
was run on.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from scipy import sparse
from threadpoolctl import threadpool_limits

import scwhatif as wi
from scwhatif._compat import registered_data
from scwhatif.engine import PairEdits, Screen, encoder_plan, pair_epistasis
from scwhatif.engine._pair_kernel import PairKernel
from scwhatif.perturbation import Edit

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = ("genes", "wide", "layers", "kernel", "sets", "pairs", "growth")
KNOCKOUT = Edit("feature", ("gene",), "ko")
DENSITY = {2000: 0.10, 20_000: 0.05}
SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


def main() -> None:
    """Run the parts asked for."""
    arguments = read_arguments()
    torch.set_num_threads(1)
    threadpool_limits(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    if arguments.one_size:
        print(json.dumps(grow(arguments.one_size, arguments.folder, arguments.model)))
        return
    for part in arguments.parts:
        if part == "genes":
            all_genes(5000, 2000, arguments)
        elif part == "wide":
            all_genes(1000, 20_000, arguments)
        elif part == "layers":
            all_genes(5000, 2000, arguments, n_layers=2)
        elif part == "growth":
            growth(arguments)
        else:
            {"kernel": kernel_rate, "sets": gene_sets, "pairs": gene_pairs}[part](arguments)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model", choices=["SCVI", "LinearSCVI", "BetaLinearSCVI"], default="SCVI")
    parser.add_argument("--peer-genes", type=int, default=5, help="genes the peers are timed on")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="cells of the growth part")
    parser.add_argument("--folder", type=Path, help="for the files of the growth part (default: a temporary one)")
    parser.add_argument("--one-size", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def simulate(n_cells: int, n_genes: int, density: float, seed: int = 0) -> ad.AnnData:
    """Counts of cells of five types: genes differ in detection, geometric counts where there are any."""
    rng = np.random.default_rng(seed)
    detection = rng.beta(0.6, 0.6 / density - 0.6, size=(5, n_genes)) * 0.5
    detection += rng.beta(0.6, 0.6 / density - 0.6, size=n_genes) * 0.5
    types, blocks = rng.integers(5, size=n_cells), []
    for start in range(0, n_cells, 1000):
        own = types[start : start + 1000]
        rows, columns = np.nonzero(rng.random((len(own), n_genes), dtype=np.float32) < detection[own])
        data = rng.geometric(0.5, len(rows)).astype(np.float32)
        blocks.append(sparse.csr_matrix((data, (rows, columns)), shape=(len(own), n_genes)))
    x = sparse.vstack(blocks, format="csr")
    obs = pd.DataFrame({"cell_type": [f"type_{i}" for i in types]}, index=np.arange(n_cells).astype(str))
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"gene_{i}" for i in range(n_genes)]))


def fit(adata: ad.AnnData, name: str, **kwargs: Any) -> Any:
    """Train a model for one pass; how well changes nothing about the time."""
    model_class = getattr(scvi.model, name, None) or getattr(wi.model, name)
    model_class.setup_anndata(adata)
    model = model_class(adata, n_latent=10, n_hidden=128, **kwargs)
    model.train(max_epochs=1, **SILENT)
    return model


def seconds(call: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least CPU time of some calls, and the result of the last."""
    least = np.inf
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        least = min(least, time.process_time() - start)
    return least, result


def all_genes(n_cells: int, n_genes: int, arguments: argparse.Namespace, **kwargs: Any) -> None:
    """Every gene knocked out in every cell, beside both peers."""
    adata = simulate(n_cells, n_genes, DENSITY[n_genes])
    model = fit(adata, arguments.model, **kwargs)
    screen = make_screen(adata, model, np.arange(n_genes))
    n_pairs = adata.X.nnz
    print(
        f"\n{arguments.model}, {kwargs.get('n_layers', 1)} hidden layer(s) of 128, 10 latent: all {n_genes} genes in "
        f"{n_cells} cells, {n_pairs / n_cells / n_genes:.1%} non-zero",
        flush=True,
    )
    screen.run()
    alone, _ = seconds(screen.run)
    print(f"  {'screen':32}{alone:9.2f} s  {n_pairs / alone / 1e6:6.2f} M pairs/s")
    for label, options in (("tl.knockout, effects", {"n_null": 0}), ("tl.knockout, effects and null", {})):
        taken, _ = seconds(lambda options=options: wi.tl.knockout(adata, model, progress=False, **options), 2)
        print(f"  {label:32}{taken:9.2f} s")

    genes = np.random.default_rng(0).choice(n_genes, arguments.peer_genes, replace=False)
    exact = make_screen(adata, model, genes, np.arange(n_cells)).run().shift
    exact = screen.plan.to_reported_axes(exact)
    base = model.get_latent_representation()
    for label, peer in (("loop over dense torch encoding", torch_loop), ("loop over get_latent_repr.", api_loop)):
        # each gene by itself, so that the least is over the genes
        runs = [seconds(lambda gene=gene, peer=peer: peer(adata, model, gene), 1) for gene in genes]
        total = min(taken for taken, _ in runs) * n_genes
        error = max(np.abs(found - base - each).max() for (_, found), each in zip(runs, exact, strict=True))
        print(
            f"  {label:32}{total:9.1f} s  {total / alone:7.0f} x slower (extrapolated), error {error:.1e}", flush=True
        )


def make_screen(adata: ad.AnnData, model: Any, genes: np.ndarray, groups: np.ndarray | None = None) -> Screen:
    """Screen of the knockouts of some genes."""
    data = registered_data(model, adata)
    plan = encoder_plan(model.module, data.x[:32], {key: values[:32] for key, values in data.fields.items()})
    codes = np.zeros(adata.n_obs, np.int64) if groups is None else groups
    items = [((int(gene), KNOCKOUT),) for gene in genes]
    return Screen(plan, data.x, data.fields, codes, int(codes.max()) + 1, items)


def api_loop(adata: ad.AnnData, model: Any, gene: int) -> np.ndarray:
    """Latent code without a gene, by the public method of scvi-tools on a copy of the data, in large batches."""
    changed = adata.copy()
    changed.X.data[changed.X.indices == gene] = 0
    return model.get_latent_representation(changed, batch_size=2048)


@torch.inference_mode()
def torch_loop(adata: ad.AnnData, model: Any, gene: int) -> np.ndarray:
    """Latent code without a gene, by the encoder itself on a dense matrix that stays in memory."""
    module = model.module.eval()
    if getattr(torch_loop, "held", (None,))[0] is not adata:
        # made once, and not counted below: the first gene pays, and the least over the genes is taken
        torch_loop.held = (adata, torch.from_numpy(adata.X.toarray()).log1p_(), torch.zeros((adata.n_obs, 1)))
    _, x, batch = torch_loop.held
    kept = x[:, gene].clone()
    x[:, gene] = 0
    encoder = module.z_encoder
    if isinstance(model, wi.model.BetaLinearSCVI):
        mean = encoder(x, [batch.long()])[0] @ module.rotation
    else:
        mean = encoder.mean_encoder(encoder.encoder(x, batch))
    x[:, gene] = kept
    return mean.numpy()


def kernel_rate(arguments: argparse.Namespace) -> None:
    """Floating-point operations per second of the compiled loop and of a dense product, alternating."""
    square = np.random.default_rng(0).random((1024, 1024), dtype=np.float32)
    for n_genes, n_latent in ((2000, 10), (20_000, 10), (2000, 36)):
        run, n_pairs = compiled_loop(n_genes, n_latent)
        ours, dense = np.inf, np.inf
        for _ in range(20):
            ours, dense = min(ours, seconds(run, 1)[0]), min(dense, seconds(lambda: square @ square, 1)[0])
        rate = n_pairs * (3 * 128 + 4 * 128 * n_latent) / ours / 1e9
        print(
            f"\ncompiled loop, {n_genes} genes, {n_latent} latent: {ours / n_pairs * 1e9:.0f} ns/pair, {rate:.0f} "
            f"GFLOP/s; dense product on the same thread {2 * 1024**3 / dense / 1e9:.0f} GFLOP/s",
            flush=True,
        )


def compiled_loop(n_genes: int, n_latent: int) -> tuple[Callable[[], None], int]:
    """The loop alone on the knockouts of a chunk of cells, and their number."""
    adata = simulate(1024, n_genes, 0.07)
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=n_latent, n_hidden=128)
    model.train(max_epochs=1, **SILENT)
    screen = make_screen(adata, model, np.arange(n_genes))
    x = adata.X.tocsc()
    rows, features = x.indices.astype(np.int64), np.repeat(np.arange(n_genes), np.diff(x.indptr))
    pairs = PairEdits(rows, np.arange(x.nnz + 1), features, x.data, np.zeros_like(x.data))
    kernel = PairKernel(screen.plan.fused, screen.plan.cells(adata.X, screen.fields))
    change, sums = screen.plan.input_change(pairs), np.zeros((n_genes, n_latent + 2))
    return lambda: kernel.add(rows, pairs.offsets, features, change, features, sums), x.nnz


def gene_sets(arguments: argparse.Namespace) -> None:
    """One set of 38 genes and its 1000 matched stand-ins."""
    adata = simulate(5000, 2000, DENSITY[2000])
    model = fit(adata, arguments.model)
    text = "{" + ",".join(np.random.default_rng(0).choice(adata.var_names, 38, replace=False)) + "}:ko"
    options = {"n_null": 1000, "progress": False}
    wi.tl.screen(adata, model, text, **{**options, "n_null": 10})
    taken, _ = seconds(lambda: wi.tl.screen(adata, model, text, **options), 2)
    print(f"\ntl.screen, 1000 matched sets of 38 genes x 5000 cells: {taken:.2f} s", flush=True)


def gene_pairs(arguments: argparse.Namespace) -> None:
    """All pairs of genes, beside what one of them costs the dense way."""
    adata = simulate(5000, 2000, DENSITY[2000])
    model = fit(adata, arguments.model)
    source = make_screen(adata, model, np.arange(2000))
    genes = np.arange(2000)
    some = {key: values[:100] for key, values in source.fields.items()}
    pair_epistasis(source.plan, adata.X[:100], some, genes, KNOCKOUT)
    taken, sums = seconds(lambda: pair_epistasis(source.plan, adata.X, source.fields, genes, KNOCKOUT), 1)
    n_evaluations, n_pairs = sums.n_cells.sum(), len(sums.n_cells)
    one = min(seconds(lambda gene=gene: torch_loop(adata, model, gene), 1)[0] for gene in range(4))
    print(
        f"\nall {n_pairs} pairs of 2000 genes x 5000 cells: {taken:.1f} s, {n_evaluations / 1e6:.0f} M evaluations, "
        f"{taken / n_evaluations * 1e9:.0f} ns each; dense torch loop {one * n_pairs / 3600:.0f} h (extrapolated)",
        flush=True,
    )


def growth(arguments: argparse.Namespace) -> None:
    """Time and memory for more and more cells, each size in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for size in arguments.sizes:
            command = [sys.executable, __file__, "--one-size", str(size), "--folder", str(folder)]
            done = subprocess.run([*command, "--model", arguments.model], check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.strip().splitlines()[-1])
            print(
                f"\n{size} cells x 20000 genes on disk, {found['nnz'] / 1e6:.0f} M non-zero "
                f"({found['file_mb']:.0f} MB): tl.knockout of all genes {found['cpu']:.1f} CPU s "
                f"({found['wall']:.1f} s wall), null included; "
                f"largest resident memory {found['peak_mb']:.0f} MB, {found['before_mb']:.0f} MB of it before",
                flush=True,
            )


def grow(n_cells: int, folder: Path, name: str) -> dict[str, float]:
    """Knockout of all genes in cells that stay on disk."""
    path = folder / f"cells_{n_cells}.h5ad"
    if not path.exists():
        # in another process, whose memory is not counted
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import knockout_speed as k; "
            f"k.simulate({n_cells}, 20000, 0.05).write_h5ad({str(path)!r})"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
    model = fit(simulate(500, 20_000, 0.05), name)
    adata = ad.read_h5ad(path, backed="r")
    # compiled beforehand, as after the first call of a session
    wi.tl.knockout(simulate(100, 20_000, 0.05), model, n_null=0, progress=False)
    before = peak_mb()
    start, wall = time.process_time(), time.perf_counter()
    wi.tl.knockout(adata, model, progress=False)
    return {
        "cpu": time.process_time() - start,
        "wall": time.perf_counter() - wall,
        "nnz": int(adata.var["knockout_n_cells"].sum()),
        "file_mb": path.stat().st_size / 2**20,
        "peak_mb": peak_mb(),
        "before_mb": before,
    }


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
