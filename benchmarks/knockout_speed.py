"""Time a knockout screen next to the two ways it is done without one, on the same model and data, in one run.

The peers are the loop over ``get_latent_representation`` on a copy of the data with one gene at zero, and a torch loop
that encodes the dense matrix with one column at zero. A peer is timed on ``--peer-genes`` genes and extrapolated to
all; its cost per gene does not depend on the gene. Deviations are exact maxima over the genes the peer was run on.

Examples
--------
::

    python benchmarks/knockout_speed.py
    python benchmarks/knockout_speed.py --cells 5000 --genes 2000
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


def main() -> None:
    """Run the comparison and print one line per method."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    adata = load(arguments)
    model_cls = wi.model.BetaLinearSCVI
    model_cls.setup_anndata(adata)
    model = model_cls(adata, n_latent=arguments.latent, n_hidden=arguments.hidden, n_layers=arguments.layers, seed=0)
    model.train(max_epochs=arguments.epochs, seed=0, accelerator="cpu", enable_progress_bar=False)
    density = adata.X.nnz / np.prod(adata.shape)
    print(
        f"{adata.n_obs} cells x {adata.n_vars} genes, {density:.1%} non-zero, {arguments.layers} hidden layer(s) of "
        f"{arguments.hidden}, {arguments.latent} latent, {arguments.threads} thread(s)"
    )

    screen_seconds, _ = timed(lambda: wi.tl.knockout(adata, model, n_null=0, min_cells=1, progress=False))
    full_seconds, _ = timed(lambda: wi.tl.knockout(adata, model, min_cells=1, progress=False))
    shift = adata.varm["knockout_shift"].copy()
    print(f"{'tl.knockout, effects':34} {screen_seconds:10.2f} s  {adata.X.nnz / screen_seconds / 1e6:6.2f} M pairs/s")
    print(f"{'tl.knockout, effects and null':34} {full_seconds:10.2f} s")

    tested = np.flatnonzero(np.isfinite(shift).all(axis=1))
    genes = np.random.default_rng(0).choice(tested, min(arguments.peer_genes, len(tested)), replace=False)
    base = model.get_latent_representation()
    for name, peer in (("loop over dense torch encoding", torch_loop), ("loop over get_latent_repr.", api_loop)):
        seconds, found = timed(lambda peer=peer: peer(adata, model, genes))
        seconds *= adata.n_vars / len(genes)
        off = np.abs(found - base.mean(axis=0, dtype=np.float64) - shift[genes]).max()
        print(
            f"{name:34} {seconds:10.2f} s  {seconds / screen_seconds:8.0f} x slower, "
            f"deviation of the mean shift {off:.1e}"
        )


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, help="simulate this many cells (default: pbmc68k)")
    parser.add_argument("--genes", type=int, default=2000, help="number of simulated genes")
    parser.add_argument("--library-size", type=float, help="counts per simulated cell (default: 0.15 per gene)")
    parser.add_argument("--latent", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5, help="of training; changes nothing about the time")
    parser.add_argument("--peer-genes", type=int, default=20, help="genes the peers are timed on")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def load(arguments: argparse.Namespace) -> AnnData:
    """Real cells, or simulated ones of the size asked for."""
    if arguments.cells is None:
        return wi.datasets.pbmc68k()
    library_size = arguments.library_size or 0.15 * arguments.genes
    adata = wi.datasets.simulate_factors(arguments.cells, arguments.genes, 8, library_size=library_size, seed=0)
    return adata[adata.X.getnnz(axis=1) > 0].copy()


def timed(call: Callable[[], np.ndarray | None]) -> tuple[float, np.ndarray | None]:
    """Wall time of the faster of two calls, and the result."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def api_loop(adata: AnnData, model: wi.model.BetaLinearSCVI, genes: np.ndarray) -> np.ndarray:
    """Mean latent code without each gene, by the public method of scvi-tools on a copy of the data.

    In favour of the peer, the copy is registered once and not for every gene, and batches are large.
    """
    changed, means = adata.copy(), []
    for gene in genes:
        x = adata.X.copy()
        x.data[x.indices == gene] = 0
        changed.X = x
        means.append(model.get_latent_representation(changed, batch_size=2048).mean(axis=0, dtype=np.float64))
    return np.array(means)


@torch.inference_mode()
def torch_loop(adata: AnnData, model: wi.model.BetaLinearSCVI, genes: np.ndarray) -> np.ndarray:
    """Mean latent code without each gene, by the encoder itself on a dense matrix that stays in memory."""
    module = model.module.eval()
    x = torch.from_numpy(adata.X.toarray())
    batch = torch.zeros((adata.n_obs, 1), dtype=torch.int64)
    means = []
    for gene in genes:
        kept = x[:, gene].clone()
        x[:, gene] = 0
        mean, _ = module.z_encoder(module.transform_input(x), [batch])
        means.append((mean @ module.rotation).double().mean(0).numpy())
        x[:, gene] = kept
    return np.array(means)


if __name__ == "__main__":
    main()
