"""What is a classifier of "SNP-driven" latent shifts worth? Edited copies of simulated cells, and all floors.

    python benchmarks/snp_shift.py [--seeds 3] [--cells 1500] [--genes 1000] [--epochs 60] [--permutations 39]
        [--factors 1 1.25 2 4 10] [--fit-factors 2 4] [--json FILE]

Every base cell is copied thrice: left alone, 38 expressed genes scaled down, 68 scaled up (x1/f and xf). A linear
β-VAE with 36 dimensions encodes the copies, and classifiers tell the three states from the codes: logistic regression
and a net of 7 units (252 hidden weights), with base cells held out (``scwhatif.tl.latent_classifier``), five nearest
neighbours likewise, and some with single cells held out ("cells split"). Beside them stand the majority (1/3), library
size, the mean expression of the two gene sets, and a check for fractional counts. Compared are

* the model fitted to unedited cells only, or to all copies (for --fit-factors, and in a third of the epochs, which is
  as many steps);
* counts that stay counts (binomial thinning, Poisson addition), or multiplied. Models of counts refuse fractions, so
  fitted to multiplied copies is scvi-tools' LinearSCVI, which does not look.

Given is the accuracy, mean ± sd over seeds (the same base cells and gene sets in all rows of a seed).
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from sklearn.neighbors import KNeighborsClassifier

import scwhatif as wi

N_LATENT = 36
N_DOWN, N_UP = 38, 68
MIN_DETECTION = 0.2
SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
EDITS = {"counts": "thin", "multiplied": "deterministic"}


def simulate(n_cells: int, n_genes: int, seed: int) -> tuple[ad.AnnData, dict[str, list[str]]]:
    """Cells of ten types, and two sets of genes among those that are expressed, drawn at random."""
    adata = wi.datasets.simulate_factors(n_cells, n_genes, 15, n_cell_types=10, n_batches=1, seed=seed)
    base = ad.AnnData(adata.X, obs=adata.obs, var=adata.var[[]])
    detection = np.asarray((base.X > 0).mean(axis=0)).ravel()
    genes = base.var_names[np.random.default_rng(seed).permutation(np.flatnonzero(detection > MIN_DETECTION))]
    return base, {"down": list(genes[:N_DOWN]), "up": list(genes[N_DOWN : N_DOWN + N_UP])}


def edited(base: ad.AnnData, sets: dict[str, list[str]], factor: float, method: str, seed: int) -> ad.AnnData:
    """Three copies of every cell."""
    edits = {"down": f"down:x{1 / factor:g}", "up": f"up:x{factor:g}"}
    return wi.pp.perturb_counts(base, edits, sets=sets, method=method, seed=seed)


def fit(cells: ad.AnnData, seed: int, epochs: int, *, stock: bool = False) -> object:
    """BetaLinearSCVI, or LinearSCVI of scvi-tools."""
    if stock:
        scvi.settings.seed = seed
        scvi.model.LinearSCVI.setup_anndata(cells)
        model = scvi.model.LinearSCVI(cells, n_latent=N_LATENT)
        model.train(epochs, plan_kwargs={"n_epochs_kl_warmup": epochs // 4}, **SILENT)
        return model
    wi.model.BetaLinearSCVI.setup_anndata(cells)
    model = wi.model.BetaLinearSCVI(cells, n_latent=N_LATENT, seed=seed)
    model.train(epochs, seed=seed, **SILENT)
    return model


def accuracies(states: ad.AnnData, sets: dict[str, list[str]], seed: int, n_permutations: int) -> dict[str, object]:
    """Of all classifiers and floors."""

    def scores(**arguments: object) -> dict:
        wi.tl.latent_classifier(states, "condition", seed=seed, **arguments)
        return states.uns["latent_classifier"]

    regression = scores(gene_sets=sets, n_permutations=n_permutations)
    table = regression["scores"].set_index("reader")
    bare = {"n_permutations": 0, "floors": []}
    net = scores(estimator="mlp", **bare)["scores"]
    neighbours = KNeighborsClassifier(5)
    return {
        "logistic": table.loc["latent", "accuracy"],
        "logistic, cells split": scores(groups=None, **bare)["scores"]["accuracy"].item(),
        "net of 7": net["accuracy"].item(),
        "5-NN": scores(estimator=neighbours, **bare)["scores"]["accuracy"].item(),
        "5-NN, cells split": scores(estimator=neighbours, groups=None, **bare)["scores"]["accuracy"].item(),
        "library": table.loc["library", "accuracy"],
        "gene sets": table.loc["gene_sets", "accuracy"],
        "fractions": table.loc["integrality", "accuracy"],
        "p": table.loc["latent", "pval"],
        "verdict": regression["verdict"],
    }


def rows_of(seed: int, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """One row per factor, kind of edit and fit."""
    base, sets = simulate(arguments.cells, arguments.genes, seed)
    on_control = fit(base, seed, arguments.epochs)
    rows = []
    for factor in arguments.factors:
        for kind, method in EDITS.items():
            if factor == 1 and kind == "multiplied":
                continue
            states = edited(base, sets, factor, method, seed)
            for fitted_to in ("unedited", "all") if factor in arguments.fit_factors else ("unedited",):
                start = time.process_time()
                model = on_control
                if fitted_to == "all":
                    model = fit(states, seed, max(1, arguments.epochs // 3), stock=kind == "multiplied")
                states.obsm["X_wi"] = model.get_latent_representation(states)
                on_control.deregister_manager()
                found = accuracies(states, sets, seed, arguments.permutations)
                row = {"factor": f"x{factor:g}", "edit": kind, "fitted to": fitted_to, "seed": seed, **found}
                rows.append(row | {"CPU s": time.process_time() - start})
                print(f"seed {seed}, x{factor:g}, {kind}, {fitted_to}: {found['verdict']}", flush=True)
    return rows


def summary(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Mean ± sd over seeds, and the largest p."""
    table = pd.DataFrame(rows).drop(columns=["seed", "verdict", "CPU s"])
    grouped = table.groupby(["factor", "edit", "fitted to"], sort=False)
    scored = table.columns.drop(["factor", "edit", "fitted to", "p"])
    mean, sd = grouped[list(scored)].mean(), grouped[list(scored)].std()
    shown = pd.DataFrame(
        {column: [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean[column], sd[column], strict=True)] for column in scored},
        index=mean.index,
    )
    shown["largest p"] = [f"{p:.3g}" for p in grouped["p"].max()]
    return shown.reset_index()


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=1500)
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--permutations", type=int, default=39)
    parser.add_argument("--factors", type=float, nargs="+", default=[1.0, 1.25, 2.0, 4.0, 10.0])
    parser.add_argument("--fit-factors", type=float, nargs="+", default=[2.0, 4.0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    start = time.process_time()
    rows = [row for seed in range(arguments.seeds) for row in rows_of(seed, arguments)]
    print(f"\n{arguments.cells} base cells × {arguments.genes} genes, {N_DOWN} down and {N_UP} up,", end=" ")
    print(f"{N_LATENT} dimensions, {arguments.seeds} seeds, {arguments.epochs} epochs,", end=" ")
    print(f"{time.process_time() - start:.0f} CPU s")
    print(summary(rows).to_markdown(index=False), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
