"""Do knockouts in a model find the regulators of a network that is known? Beside what needs no model.

    python benchmarks/planted_network.py [--seeds 5] [--cells 1500] [--genes 400] [--epochs 60] [--latent 16]
        [--models betalinear scvi] [--json FILE]

Each seed draws a network (2 masters, 8 regulators, 2 redundant pairs, 12 processes × 20 targets, 40 decoys; the rest
are bystanders), cells from it, and the weights of each model. Scores are average precision (area under the
precision-recall curve), mean ± sd over seeds, with the base rate: the average precision of a random order.

First table: genes ranked by how likely each drives others; the 14 drivers are to come first. Decoys are as expressed
and as variable as drivers and drive nothing. Second: for every driver,
all other genes ranked by how much its knockout is said to change them; those that the planted knockout does change are
to come first, mean over drivers, and Spearman's correlation with the size of the planted change. A correlation network
has no direction, so it can do well here and still not tell a driver from its targets. Third: cells are split at the
median of a driver's planted activity, and genes are ranked by what they do along the direction from the low half to
the high half in latent space: how often the driver is among the first 5, and its median rank. That direction is found
from the planted truth, and correlation with it is given the same.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import pandas as pd
import scvi
import torch
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

import scwhatif as wi

if TYPE_CHECKING:
    import anndata as ad

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
MODELS = {"betalinear": "BetaLinearSCVI", "scvi": "SCVI"}
METHODS = ("ko", "jacobian", "expected_gradients")


def fit(name: str, adata: ad.AnnData, seed: int, epochs: int, n_latent: int) -> object:
    """Train a model."""
    if name == "betalinear":
        wi.model.BetaLinearSCVI.setup_anndata(adata)
        model = wi.model.BetaLinearSCVI(adata, n_latent=n_latent, seed=seed)
        model.train(epochs, seed=seed, **SILENT)
        return model
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=n_latent, gene_likelihood="nb")
    model.train(epochs, plan_kwargs={"n_epochs_kl_warmup": epochs // 2}, **SILENT)
    return model


def log_normalised(adata: ad.AnnData) -> np.ndarray:
    """Standardised logarithm of counts per 10 000."""
    x = adata.X.toarray()
    logged = np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4)
    return (logged - logged.mean(axis=0)) / np.maximum(logged.std(axis=0), 1e-9)


def overdispersion(adata: ad.AnnData) -> np.ndarray:
    """Of counts brought to the median library: what feature selection goes by."""
    x = adata.X.toarray()
    total = x.sum(axis=1, keepdims=True)
    x = x / total * np.median(total)
    mean = np.maximum(x.mean(axis=0), 1e-9)
    return (x.var(axis=0) - mean) / mean**2


def driver_scores(name: str, adata: ad.AnnData, effects: np.ndarray) -> dict[str, np.ndarray]:
    """Rankings of genes by how likely each drives others, from a model."""
    table = adata.uns["knockout"]["by_group"].set_index("gene").loc[adata.var_names]
    others = effects.copy()
    np.fill_diagonal(others, 0.0)
    return {
        f"{name}: knockout score": table["score"].to_numpy(),
        f"{name}: knockout score, residual": table["score_residual"].to_numpy(),
        f"{name}: mean shift": table["shift_norm"].to_numpy(),
        f"{name}: decoded effect on others": np.sqrt(np.square(others).mean(axis=0)),
        f"{name}: first-layer norm": adata.uns["weight_norm"],
    }


def along_own_activity(name: str, adata: ad.AnnData, model: object, z: np.ndarray, logged: np.ndarray) -> list[dict]:
    """Rank of every driver among the genes that lead along its own activity."""
    rows = []
    for i, driver in enumerate(drivers(adata)):
        activity = adata.obsm["true_activity"][:, i]
        high = activity > np.median(activity)
        adata.obs["activity"] = np.where(high, "high", "low")
        wi.tl.master_regulators(
            adata, model, ("activity", "high"), method=METHODS, n_null=0, n_steps=64, progress=False
        )
        table = adata.uns["master_regulators"]["table"]
        for method in METHODS:
            genes = table.loc[table["method"] == method, "gene"].astype(str).tolist()
            rows.append({"ranking": f"{name}: {method}", "driver": driver, "rank": genes.index(driver) + 1})
        position = z @ (z[high].mean(axis=0) - z[~high].mean(axis=0))
        position = (position - position.mean()) / position.std()
        order = adata.var_names[np.argsort(-np.abs(logged.T @ position))].tolist()
        rows.append({"ranking": f"{name}: correlation with it", "driver": driver, "rank": order.index(driver) + 1})
    return rows


def drivers(adata: ad.AnnData) -> list[str]:
    """Genes that drive others."""
    return adata.var_names[adata.var["role"].isin(["master", "regulator", "redundant"])].tolist()


def target_scores(effects: np.ndarray, adata: ad.AnnData) -> dict[str, float]:
    """How well sizes of effects (rows: genes, columns: edited genes) rank what planted knockouts change."""
    truth = np.abs(adata.varp["true_knockout"].toarray())
    precision, correlation, base = [], [], []
    for i in range(len(drivers(adata))):
        rest = np.arange(adata.n_vars) != i
        changed = truth[i, rest] > 0
        precision.append(average_precision_score(changed, np.abs(effects[rest, i])))
        correlation.append(spearmanr(np.abs(effects[rest, i]), truth[i, rest]).statistic)
        base.append(changed.mean())
    return {"ap": np.mean(precision), "spearman": np.mean(correlation), "base": np.mean(base)}


def one_seed(seed: int, arguments: argparse.Namespace) -> tuple[list[dict], list[dict], list[dict]]:
    """Scores of every ranking on one network."""
    adata = wi.datasets.simulate_network(arguments.cells, arguments.genes, seed=seed)
    is_driver = adata.var_names.isin(drivers(adata))
    logged = log_normalised(adata)
    correlation = logged.T @ logged / len(logged)
    mean = np.asarray(adata.X.mean(axis=0)).ravel()
    network = np.abs(correlation) - np.eye(adata.n_vars)
    found = {
        "mean expression": mean,
        "overdispersion: (variance - mean) / mean²": overdispersion(adata),
        "correlation network: mean |r|": network.mean(axis=0),
        "correlation network: edges, |r| > 0.2": (network > 0.2).sum(axis=0),
    }
    effects = {"mean expression": np.repeat(mean[:, None], adata.n_vars, axis=1), "correlation network": correlation}
    ranks = []
    for key in arguments.models:
        name = MODELS[key]
        model = fit(key, adata, seed, arguments.epochs, arguments.latent)
        wi.tl.knockout(adata, model, min_cells=1, progress=False)
        wi.tl.gene_effects(adata, model, progress=False)
        first = next(p for n, p in model.module.z_encoder.named_parameters() if n.endswith("weight") and p.ndim == 2)
        adata.uns["weight_norm"] = first.detach()[:, : adata.n_vars].norm(dim=0).numpy()
        z = np.asarray(model.get_latent_representation(), dtype=np.float64)
        decoded = adata.varm["gene_effects"].astype(np.float64)
        found |= driver_scores(name, adata, decoded)
        effects[f"{name}: decoded effect"] = decoded
        ranks += along_own_activity(name, adata, model, z, logged)
    first_table = [
        {"ranking": name, "ap": average_precision_score(is_driver, np.nan_to_num(values, nan=-np.inf, neginf=-1e9))}
        for name, values in found.items()
    ]
    first_table.append({"ranking": "base rate", "ap": is_driver.mean()})
    second_table = [{"ranking": name, **target_scores(each, adata)} for name, each in effects.items()]
    second_table.append({"ranking": "base rate", "ap": second_table[0]["base"], "spearman": 0.0})
    return first_table, second_table, ranks


def shown(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    """Mean ± sd over seeds."""
    table = pd.DataFrame(rows).groupby("ranking", sort=False)[columns].agg(["mean", "std"])
    text = {name: [f"{m:.3f} ± {0.0 if np.isnan(s) else s:.3f}" for m, s in table[name].to_numpy()] for name in columns}
    return pd.DataFrame(text, index=table.index)


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=1500)
    parser.add_argument("--genes", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--latent", type=int, default=16)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)

    start = time.process_time()
    tables: tuple[list[dict], ...] = ([], [], [])
    for seed in range(arguments.seeds):
        for rows, new in zip(tables, one_seed(seed, arguments), strict=True):
            rows += [{"seed": seed, **row} for row in new]
    drivers_found, targets_found, ranks = tables
    print(f"{arguments.seeds} networks, {arguments.cells} cells × {arguments.genes} genes, {arguments.epochs} epochs, ")
    print(f"{arguments.latent} dimensions, {time.process_time() - start:.0f} CPU s")
    print("\nwhich genes drive others: average precision")
    print(shown(drivers_found, ["ap"]).to_markdown())
    print("\nwhat the knockout of a driver changes: average precision, and Spearman's correlation of sizes")
    print(shown(targets_found, ["ap", "spearman"]).to_markdown())
    print("\nrank of a driver along its own activity")
    ranked = pd.DataFrame(ranks).groupby("ranking", sort=False)["rank"]
    table = pd.DataFrame({"among first 5": ranked.apply(lambda r: (r <= 5).mean()), "median rank": ranked.median()})
    table.loc["base rate"] = [5 / arguments.genes, arguments.genes / 2]
    print(table.round(3).to_markdown())
    if arguments.json:
        named = {"drivers": drivers_found, "targets": targets_found, "ranks": ranks}
        arguments.json.write_text(json.dumps(named, indent=1, default=float))


if __name__ == "__main__":
    main()
