"""BetaLinearSCVI against scvi-tools' LinearSCVI: same cells, same split, same epochs, one run.

    python benchmarks/linear_scvi.py quality --data PATH [--seeds 5] [--epochs 100] [--genes 2000]
    python benchmarks/linear_scvi.py speed [--genes 29651 2000] [--cells 1280]

``quality`` prints, per data set and model (mean ± sd over seeds): negative ELBO per held-out cell, balanced accuracy of
cross-validated probes that read the batch (chance 1/number of batches) and the cell identity from the latent means,
and seconds per epoch. ``speed`` prints seconds per epoch and their ratio, measured in turn. PATH is a folder
with ``sc_mixology/sc3cl_2protocol.h5ad``, ``sc_mixology/sc5cl_3plate.h5ad`` and ``kang/kang_muscat.h5ad``; what is
absent is skipped with a word. LinearSCVI is run as shipped (latent library, KL warm-up of 400 epochs) and,
comparably to ours, with the observed library and a warm-up that ends within training, at its own and at our learning
rate. ELBOs are comparable between models with an observed library only.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scwhatif as wi

SETS = {
    "mixology 3 lines × 2 protocols": ("sc_mixology/sc3cl_2protocol.h5ad", "dataset", "cell_line"),
    "mixology 5 lines × 3 plates": ("sc_mixology/sc5cl_3plate.h5ad", "dataset", "cell_line_demuxlet"),
    "Kang PBMC, 2 donors": ("kang/kang_muscat.h5ad", "donor", "cell_type"),
}
LATENT = 10
SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


def fit_stock(adata: ad.AnnData, batch_key: str | None, epochs: int, seed: int, *, observed: bool, lr: float) -> object:
    """LinearSCVI as shipped, or with observed library and a warm-up that is reached."""
    scvi.settings.seed = seed
    scvi.model.LinearSCVI.setup_anndata(adata, batch_key=batch_key)
    model = scvi.model.LinearSCVI(adata, n_latent=LATENT, use_observed_lib_size=observed)
    plan = {"lr": lr} | ({"n_epochs_kl_warmup": max(epochs // 4, 1)} if observed else {})
    model.train(epochs, check_val_every_n_epoch=epochs, plan_kwargs=plan, **SILENT)
    return model


def fit_ours(
    adata: ad.AnnData, batch_key: str | None, epochs: int, seed: int, lr: float = 5e-3, **settings: object
) -> object:
    """BetaLinearSCVI with its defaults, β = 1."""
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key=batch_key)
    model = wi.model.BetaLinearSCVI(adata, n_latent=LATENT, seed=seed, **settings)
    model.train(epochs, seed=seed, check_val_every_n_epoch=epochs, plan_kwargs={"lr": lr}, **SILENT)
    return model


MODELS = {
    "LinearSCVI as shipped": lambda *a: fit_stock(*a, observed=False, lr=1e-3),
    "LinearSCVI, observed library": lambda *a: fit_stock(*a, observed=True, lr=1e-3),
    "LinearSCVI, observed library, lr 5e-3": lambda *a: fit_stock(*a, observed=True, lr=5e-3),
    "BetaLinearSCVI": fit_ours,
    "BetaLinearSCVI, lr 1e-3": lambda *a: fit_ours(*a, lr=1e-3),
    "BetaLinearSCVI, encode_covariates=False": lambda *a: fit_ours(*a, encode_covariates=False),
}


def probe(classifier: object, z: np.ndarray, labels: pd.Series) -> float:
    """Balanced accuracy in five stratified folds, scaling inside the fold."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    pipeline = make_pipeline(StandardScaler(), classifier)
    return cross_val_score(pipeline, z, labels.astype(str), cv=folds, scoring="balanced_accuracy").mean()


def most_variable(adata: ad.AnnData, n_genes: int) -> ad.AnnData:
    """Cells × the genes whose log-normalised expression varies most for its mean."""
    normalised = adata.copy()
    sc.pp.normalize_total(normalised)
    sc.pp.log1p(normalised)
    sc.pp.highly_variable_genes(normalised, n_top_genes=min(n_genes, adata.n_vars))
    return adata[:, normalised.var["highly_variable"].to_numpy()].copy()


def quality(folder: Path, n_seeds: int, epochs: int, n_genes: int) -> None:
    """Print one table per data set."""
    for title, (file, batch_key, identity_key) in SETS.items():
        if not (folder / file).is_file():
            print(f"\n{title}: skipped, {file} is not there")
            continue
        adata = ad.read_h5ad(folder / file)
        if "demuxlet_cls" in adata.obs:
            adata = adata[adata.obs["demuxlet_cls"] != "DBL"].copy()
        adata = most_variable(adata, n_genes)
        sc.pp.filter_cells(adata, min_counts=1)
        rows = []
        for seed in range(n_seeds):
            for name, fit in MODELS.items():
                start = time.perf_counter()
                model = fit(adata, batch_key, epochs, seed)
                seconds = (time.perf_counter() - start) / epochs
                z = model.get_latent_representation()
                rows.append(
                    {
                        "model": name,
                        "-ELBO held out": float(model.history["elbo_validation"].iloc[-1, 0]),
                        "batch, logistic": probe(LogisticRegression(max_iter=3000), z, adata.obs[batch_key]),
                        "batch, 15-NN": probe(KNeighborsClassifier(15), z, adata.obs[batch_key]),
                        "identity, logistic": probe(LogisticRegression(max_iter=3000), z, adata.obs[identity_key]),
                        "s/epoch": seconds,
                    }
                )
        table = pd.DataFrame(rows).groupby("model", sort=False).agg(["mean", "std"])
        print(f"\n{title}: {adata.n_obs} cells × {adata.n_vars} genes, {epochs} epochs, {n_seeds} seeds")
        for column in table.columns.levels[0]:
            digits = 1 if "ELBO" in column else 3
            table[(column, "mean ± sd")] = [
                f"{m:.{digits}f} ± {s:.{digits}f}"
                for m, s in zip(table[column]["mean"], table[column]["std"], strict=True)
            ]
        print(table.xs("mean ± sd", axis=1, level=1)[list(rows[0])[1:]].to_markdown(), flush=True)


class EpochClock(Callback):
    """Wall and CPU seconds of every training epoch."""

    def __init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: object, pl_module: object) -> None:
        """Start the clocks."""
        self.started = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: object, pl_module: object) -> None:
        """Stop the clocks."""
        self.seconds.append((time.perf_counter() - self.started[0], time.process_time() - self.started[1]))


def speed(genes: list[int], n_cells: int, repeats: int) -> None:
    """Print seconds per epoch of both models, fitted in turn, and the ratio of the medians over epochs."""
    rng = np.random.default_rng(0)
    for n_genes in genes:
        x = sp.random(n_cells, n_genes, 0.05, format="csr", dtype=np.float32, random_state=0)
        x.data = (1 + rng.poisson(1.0, x.nnz)).astype(np.float32)
        adata = ad.AnnData(x)
        scvi.model.LinearSCVI.setup_anndata(adata)
        stock = scvi.model.LinearSCVI(adata, n_latent=LATENT)
        wi.model.BetaLinearSCVI.setup_anndata(adata)
        ours = wi.model.BetaLinearSCVI(adata, n_latent=LATENT)
        clocks = {"LinearSCVI": EpochClock(), "BetaLinearSCVI": EpochClock()}
        for _ in range(repeats):
            for model, clock in zip((stock, ours), clocks.values(), strict=True):
                model.train(3, train_size=1.0, callbacks=[clock], **SILENT)
        print(f"{n_cells} cells × {n_genes} genes, 5 % dense, batch 128, {torch.get_num_threads()} thread(s)")
        for kind, column in (("wall", 0), ("cpu", 1)):
            seconds = {name: np.array(clock.seconds)[:, column] for name, clock in clocks.items()}
            medians = {name: np.median(each) for name, each in seconds.items()}
            paired = seconds["LinearSCVI"] / seconds["BetaLinearSCVI"]
            print(
                f"  {kind}: "
                + ", ".join(f"{name} {value:.3f} s/epoch" for name, value in medians.items())
                + f"; ratio {medians['LinearSCVI'] / medians['BetaLinearSCVI']:.2f}"
                + f" (epoch by epoch {paired.min():.2f}–{paired.max():.2f})",
                flush=True,
            )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    commands = parser.add_subparsers(dest="command", required=True)
    quality_parser = commands.add_parser("quality")
    quality_parser.add_argument("--data", type=Path, required=True)
    quality_parser.add_argument("--seeds", type=int, default=5)
    quality_parser.add_argument("--epochs", type=int, default=100)
    quality_parser.add_argument("--genes", type=int, default=2000, help="most variable genes to use")
    speed_parser = commands.add_parser("speed")
    speed_parser.add_argument("--genes", type=int, nargs="+", default=[29651, 2000])
    speed_parser.add_argument("--cells", type=int, default=1280)
    speed_parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(arguments.threads)
    if arguments.command == "quality":
        quality(arguments.data, arguments.seeds, arguments.epochs, arguments.genes)
    else:
        speed(arguments.genes, arguments.cells, arguments.repeats)


if __name__ == "__main__":
    main()
