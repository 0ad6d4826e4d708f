"""Training speed of BetaLinearSCVI, of scvi-tools' LinearSCVI, and of a lean loop in plain torch, in one run.

    python benchmarks/training_speed.py speed [--genes 29651 2000] [--cells 9000] [--steps 20] [--repeats 3]
        [--threads 1 2] [--compile] [--json FILE]
    python benchmarks/training_speed.py quality [--data FILE] [--epochs 30] [--json FILE]

``speed`` trains on simulated counts (5 % non-zero, 36 latent dimensions, batches of 128). All take turns for a few
steps each, and CPU seconds of the process are counted within epochs, loading included; the median over repeats is
taken, and projected to an epoch of ``--cells``. The lean loop has the parameters of our model, batches sliced
beforehand and held as dense tensors, the sparse likelihood that our model takes where it does not fuse (gamma functions
at non-zeros only) and a fused Adam: no loader, no logging, no trainer. With the model's own kernels on CSR batches it
is the lean loop, fused: what is missing to it is the price of the framework. The parts of a step are timed between the
hooks that Lightning calls; "optimiser" is all between the backward pass and the end of the step. ``--compile`` adds our
model under torch.compile, after two epochs for compiling that are not counted. The error is that of
the loss and of its gradients against the dense formula in float64. ``quality`` gives the held-out negative ELBO after
equal epochs.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from torch.nn.functional import linear

import scwhatif as wi
from scwhatif.nn import gaussian_kl, negative_binomial_log_likelihood
from scwhatif.train._feature_major_adamw import FeatureMajorAdamW

LATENT, BATCH = 36, 128
SILENT: dict[str, Any] = {"enable_progress_bar": False, "accelerator": "cpu"}


def simulate(n_cells: int, n_genes: int) -> ad.AnnData:
    """Counts of which 5 % are not zero."""
    rng = np.random.default_rng(0)
    x = sp.random(n_cells, n_genes, 0.05, format="csr", dtype=np.float32, random_state=0)
    x.data = (1 + rng.poisson(1.0, x.nnz)).astype(np.float32)
    return ad.AnnData(x)


class Clock(Callback):
    """CPU seconds per step, and of the parts of a step that Lightning announces."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.parts: dict[str, list[float]] = {}

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Start of the epoch, before its first batch is loaded."""
        self.begin = self.last = time.process_time()

    def _lap(self, part: str) -> None:
        now = time.process_time()
        self.parts.setdefault(part, []).append(now - self.last)
        self.last = now

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The batch is there."""
        self._lap("loading")

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """The loss is known."""
        self._lap("forward")

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """The gradients are known."""
        self._lap("backward")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The weights have moved."""
        self._lap("optimiser")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End of the epoch."""
        self._lap("logging")
        self.steps.append((time.process_time() - self.begin) / trainer.num_training_batches)


def lean_loop(module: Any, batches: list[torch.Tensor]) -> float:
    """CPU seconds per step of plain torch on dense batches, or on CSR batches with the fused likelihood."""
    module = deepcopy(module)
    encoder, decoder = module.z_encoder, module.decoder
    fused = batches[0].layout is torch.sparse_csr
    if not fused:
        encoder.first.weight = torch.nn.Parameter(encoder.first.weight.detach().contiguous())
    optimizer = FeatureMajorAdamW(module.parameters(), lr=5e-3, eps=1e-8, fused=True)
    libraries = [torch.log(x.to_dense().sum(-1, keepdim=True)) for x in batches]
    start = time.process_time()
    for x, library in zip(batches, libraries, strict=True):
        hidden = encoder.hidden(encoder.first(torch.log1p(x)) + encoder.covariates.tables[0])
        mean, var = encoder.mean(hidden), encoder.variance(encoder.log_var(hidden))
        z = mean + var.sqrt() * torch.randn_like(mean)
        bias, theta = decoder.bias + module.covariates.tables[0][0], module.log_dispersion.exp()
        if fused:
            fit, _ = wi.nn.linear_count_log_likelihood(x, z, decoder.weight, bias=bias, log_scale=library, theta=theta)
        else:
            log_rate = linear(z, decoder.weight, bias).log_softmax(-1) + library
            fit = negative_binomial_log_likelihood(x, log_rate, theta).sum()
        loss = gaussian_kl(mean, var).sum(-1).mean() - fit / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.process_time() - start) / len(batches)


def error(adata: ad.AnnData) -> dict[str, float]:
    """Largest relative deviation of loss and gradients from the dense formula in float64."""
    x = torch.from_numpy(adata.X[:BATCH].toarray())
    torch.manual_seed(0)
    z, weight = torch.randn(len(x), LATENT), torch.randn(x.shape[1], LATENT) * 0.1
    bias, theta = torch.randn(x.shape[1]), torch.rand(x.shape[1]) * 3 + 0.1
    library = x.sum(-1, keepdim=True).log()
    leaves = [t.requires_grad_() for t in (z, weight, bias, theta)]
    total, _ = wi.nn.linear_count_log_likelihood(
        x.to_sparse_csr(), z, weight, bias=bias, log_scale=library, theta=theta
    )
    ours = [total, *torch.autograd.grad(total, leaves)]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    mu = (linear(exact[0], exact[1], exact[2]).log_softmax(-1) + library.double()).exp()
    px = torch.distributions.NegativeBinomial(exact[3], logits=mu.log() - exact[3].log(), validate_args=False)
    reference = px.log_prob(x.double()).sum()
    wanted = [reference, *torch.autograd.grad(reference, exact)]
    return {
        name: float((a.double() - b).norm() / b.norm())
        for name, a, b in zip(("loss", "z", "weight", "bias", "theta"), ours, wanted, strict=True)
    }


def speed(
    genes: list[int], n_cells: int, steps: int, repeats: int, threads: list[int], *, compiled: bool
) -> list[dict[str, Any]]:
    """One row per number of genes and of threads."""
    rows = []
    plan = {"compile": True}
    for n_genes in genes:
        adata = simulate(steps * BATCH, n_genes)
        for n_threads in threads:
            torch.set_num_threads(n_threads)
            scvi.model.LinearSCVI.setup_anndata(adata)
            stock = scvi.model.LinearSCVI(adata, n_latent=LATENT)
            wi.model.BetaLinearSCVI.setup_anndata(adata)
            ours = wi.model.BetaLinearSCVI(adata, n_latent=LATENT, seed=0)
            batches = [torch.from_numpy(adata.X[i : i + BATCH].toarray()) for i in range(0, adata.n_obs, BATCH)]
            fits: list[tuple[str, Any, dict[str, Any]]] = [("LinearSCVI", stock, {}), ("BetaLinearSCVI", ours, {})]
            if compiled:
                wrapped = wi.model.BetaLinearSCVI(adata, n_latent=LATENT, seed=0)
                wrapped.train(2, train_size=1.0, plan_kwargs=plan, **SILENT)
                fits.append(("compiled", wrapped, {"plan_kwargs": plan}))
            clocks = {name: Clock() for name, _, _ in fits}
            sparse = [x.to_sparse_csr() for x in batches]
            lean: dict[str, list[float]] = {"lean loop": [], "lean loop, fused": []}
            for _ in range(repeats):
                for name, model, settings in fits:
                    model.train(1, train_size=1.0, callbacks=[clocks[name]], **settings, **SILENT)
                for name, each in zip(lean, (batches, sparse), strict=True):
                    lean[name].append(lean_loop(ours.module.train(), each))
                ours.module.eval()
            ms = {name: 1e3 * float(np.median(clock.steps)) for name, clock in clocks.items()}
            ms |= {name: 1e3 * float(np.median(each)) for name, each in lean.items()}
            parts = {
                name: {part: 1e3 * float(np.median(each)) for part, each in clock.parts.items()}
                for name, clock in clocks.items()
            }
            row = {
                "genes": n_genes,
                "threads": n_threads,
                "cpu_ms_per_step": ms,
                "epochs_per_cpu_minute": {k: 60e3 / (v * np.ceil(n_cells / BATCH)) for k, v in ms.items()},
                "times_stock": ms["LinearSCVI"] / ms["BetaLinearSCVI"],
                "of_lean": {name: ms[name] / ms["BetaLinearSCVI"] for name in lean},
                "parts_ms": parts,
                "relative_error": error(adata),
            }
            rows.append(row)
            show(row, steps, repeats)
    return rows


def show(row: dict[str, Any], steps: int, repeats: int) -> None:
    """Print a row."""
    print(f"\n{row['genes']} genes, {row['threads']} thread(s), {repeats} × {steps} steps: CPU-ms per step (median)")
    for name, ms in row["cpu_ms_per_step"].items():
        parts = ", ".join(f"{part} {value:.1f}" for part, value in row["parts_ms"].get(name, {}).items())
        print(f"  {name:16s} {ms:7.1f}   {row['epochs_per_cpu_minute'][name]:6.2f} epochs/min   {parts}")
    shares = " and ".join(f"{100 * share:.0f} % of the rate of the {name}" for name, share in row["of_lean"].items())
    print(f"  {row['times_stock']:.2f} × LinearSCVI, {shares}")
    print("  relative error: " + ", ".join(f"{k} {v:.1e}" for k, v in row["relative_error"].items()), flush=True)


def quality(data: Path | None, epochs: int, n_latent: int = 10) -> list[dict[str, Any]]:
    """Held-out negative ELBO after equal epochs, both with the observed library, warm-up over a quarter, lr 5e-3."""
    sets = {"simulated factors, 2000 × 500": wi.datasets.simulate_factors(n_obs=2000, n_vars=500)}
    if data is not None:
        real = ad.read_h5ad(data)
        variable = np.argsort(-np.asarray(sp.csr_matrix(real.X).log1p().power(2).mean(0)).ravel())[:2000]
        real = real[:, np.sort(variable)].copy()
        sets[data.stem] = real[np.asarray(real.X.sum(1)).ravel() > 0].copy()
    rows = []
    torch.set_num_threads(1)
    for title, adata in sets.items():
        adata.X = sp.csr_matrix(adata.X, dtype=np.float32)
        found = {}
        for name, cls in (("LinearSCVI", scvi.model.LinearSCVI), ("BetaLinearSCVI", wi.model.BetaLinearSCVI)):
            scvi.settings.seed = 0
            cls.setup_anndata(adata)
            stock = name == "LinearSCVI"
            model = cls(adata, n_latent=n_latent, **({"use_observed_lib_size": True} if stock else {"seed": 0}))
            plan = {"lr": 5e-3} | ({"n_epochs_kl_warmup": max(epochs // 4, 1)} if stock else {})
            model.train(epochs, check_val_every_n_epoch=epochs, plan_kwargs=plan, **SILENT)
            found[name] = float(model.history["elbo_validation"].iloc[-1, 0])
        rows.append({"data": title, "density": adata.X.nnz / np.prod(adata.shape), "epochs": epochs} | found)
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    speed_parser = commands.add_parser("speed")
    speed_parser.add_argument("--genes", type=int, nargs="+", default=[29651, 2000])
    speed_parser.add_argument("--cells", type=int, default=9000, help="cells of the epoch that is projected to")
    speed_parser.add_argument("--steps", type=int, default=20)
    speed_parser.add_argument("--repeats", type=int, default=3)
    speed_parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    speed_parser.add_argument("--compile", action="store_true", help="add our model under torch.compile")
    quality_parser = commands.add_parser("quality")
    quality_parser.add_argument("--data", type=Path)
    quality_parser.add_argument("--epochs", type=int, default=30)
    for each in (speed_parser, quality_parser):
        each.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    if arguments.command == "speed":
        torch._logging.set_logs(dynamo=logging.ERROR)
        counts = (arguments.genes, arguments.cells, arguments.steps, arguments.repeats, arguments.threads)
        rows = speed(*counts, compiled=arguments.compile)
    else:
        rows = quality(arguments.data, arguments.epochs)
    if arguments.json:
        versions = {"torch": torch.__version__, "scvi": scvi.__version__, "machine": platform.machine()}
        arguments.json.write_text(json.dumps({"command": arguments.command, "rows": rows} | versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
