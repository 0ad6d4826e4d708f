"""Enhancer–promoter pairs of unseen cell lines on unseen chromosomes: the energy model beside what it has to beat.

    python benchmarks/cell_line_energy.py --data PATH [--sets bengi targetfinder crispr] [--methods NAME ... | --ablate]
        [--context none|promoter|enhancer|ranks|all] [--folds 0 1 2 3 4] [--epochs N] [--seed 0] [--cache FOLDER]
        [--json FILE]

PATH/ep_bengi holds 109 290 pairs of 4 cell lines at natural prevalence (8 marks at the enhancer, at the promoter and
between them, and the distance), PATH/ep_targetfinder pairs of 5 lines (14 marks, of which one line lacks 6) with five
negatives per positive, PATH/ep_crispr_k562 pairs of one line that were perturbed.

Of two or more lines, a line and a fold of chromosomes are held out together (``tl.cross_context_validate``); of one
line, a fold of chromosomes, and only the baselines run, because an energy cannot be learnt from one line. All methods
see the same splits. First table: mean over what was held out. Second: area under the precision–recall curve by line.
Third: paired differences of every method from the reference methods, with 95 % intervals that allow for shared training
pairs. With ``--cache``, what was fitted before is read from there.

The networks of ``mlp``, ``dann``, ``coral`` and ``arm`` are that of the energy model without energy and without trees:
on features ranked within each line; with the gradient-reversal adversary; with the covariance of the features of every
line made that of the mean line; and with the mean of a line's raw features as further inputs.

With ``--context`` all methods also read where a pair stands among the other candidates of its promoter, of its
enhancer, or of both (``pp.pair_context``); ``ranks`` are both without the numbers of candidates. Candidates of BENGI
were chosen by outcome (nearly every enhancer has a partner), which numbers and ranks within an enhancer give away.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

import scwhatif as wi
from scwhatif.tl._context_baselines import BASELINES, baseline_inputs, rank_within
from scwhatif.tl._context_fit import ContextFit, fit_context
from scwhatif.tl._context_scores import differences, summarise
from scwhatif.tl._context_splits import ContextSplit, chrom_folds

NO_TREES: dict[str, Any] = {"trees_weight": 0.0}
ERM: dict[str, Any] = {"interaction": "none", **NO_TREES}
# Features: "raw" as measured (the model ranks them), "coral" and "arm" as made below.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("raw", ERM),
    "dann": ("raw", {**ERM, "adversary_weight": 0.1}),
    "coral": ("coral", {**ERM, "input_norm": None}),
    "arm": ("arm", {**ERM, "input_norm": None}),
    "scalar, no trees": ("raw", {"interaction": "scalar", **NO_TREES}),
    "channels, no trees": ("raw", {"interaction": "channels", **NO_TREES}),
    "linear, no trees": ("raw", {"interaction": "linear", **NO_TREES}),
    "mlp + trees": ("raw", {"interaction": "none"}),
    "energy": ("raw", {}),
    "energy, channels": ("raw", {"interaction": "channels"}),
    "scalar + correlation, no trees": ("raw", {"corr_weight": 0.1, **NO_TREES}),
    "scalar + hsic, no trees": ("raw", {"corr_weight": 0.1, "decouple": "hsic", **NO_TREES}),
    "scalar + adversary, no trees": ("raw", {"adversary_weight": 0.1, **NO_TREES}),
    "scalar + contrast, no trees": ("raw", {"contrast_weight": 0.05, **NO_TREES}),
    "scalar + sparsity, no trees": ("raw", {"sparsity_weight": 0.01, **NO_TREES}),
    "scalar + prototypes, no trees": ("raw", {"prototype_weight": 0.05, **NO_TREES}),
    "scalar + margins, no trees": ("raw", {"loss": "theory", **NO_TREES}),
    "scalar, joint, no trees": ("raw", {"joint": True, **NO_TREES}),
    "as published, no trees": (
        "raw",
        {
            "corr_weight": 0.1,
            "adversary_weight": 0.1,
            "contrast_weight": 0.05,
            "sparsity_weight": 0.01,
            "prototype_weight": 0.05,
            "loss": "adaptive",
            "joint": True,
            **NO_TREES,
        },
    ),
}
# Every loss and interaction on its own, without trees, which would hide what the network does.
ABLATION = ("mlp", "dann", "coral", "arm", *(name for name in MODELS if name.endswith(", no trees")))
DEFAULT = ("prevalence", "distance", "logistic", "logistic_rank", "gradient_boosting", "gradient_boosting_rank")
DEFAULT += (
    "gradient_boosting_tuned",
    "gradient_boosting_both",
    "mlp",
    "mlp + trees",
    "dann",
    "coral",
    "arm",
    "scalar, no trees",
    "energy",
)
REFERENCES = ("gradient_boosting_rank", "gradient_boosting_tuned", "gradient_boosting_both", "mlp")
SHOWN = ["aupr", "lift", "aupr_at_half", "auroc", "f1", "precision", "recall", "ece", "brier", "calibration_slope"]


def load(name: str, path: Path) -> ad.AnnData:
    """Pairs of a set."""
    if name == "bengi":
        table = pd.read_csv(path / "ep_bengi" / "bengi_hic_4lines.csv.gz")
        places = {"enhancer": "enh_name", "promoter": "prom_name"}
        return wi.pp.pairs_from_table(table, label="label", cell_line="celltype", chrom="chrom", **places)
    if name == "targetfinder":
        files = sorted((path / "ep_targetfinder").glob("*.csv.gz"))
        table = pd.concat([pd.read_csv(file).assign(line=file.name.split(".")[0]) for file in files], ignore_index=True)
        exclude = ["tf_gbm_cv_prediction"]
        return wi.pp.pairs_from_table(table, label="label", cell_line="line", chrom="chrom", exclude=exclude)
    table = pd.read_csv(path / "ep_crispr_k562" / "training_K562.GRCh38.tsv.gz", sep="\t")
    activity = ("H3K27ac", "DHS", "CTCF", "H3K27me3", "H3K4me1")
    features = [column for column in table if column.startswith(activity)] + ["distanceToTSS"]
    # some genes have no start
    placed = (table["chrom"] == table["chrTSS"]) & (table["endTSS"] > table["startTSS"])
    return wi.pp.pairs_from_table(
        table[placed],
        label="Regulated",
        cell_line="CellType",
        chrom="chrom",
        enhancer=("chromStart", "chromEnd"),
        promoter=("startTSS", "endTSS"),
        features=features,
    )


def prepared(adata: ad.AnnData, how: str) -> ad.AnnData:
    """The same pairs with other features."""
    if how == "raw":
        return adata
    lines = adata.obs["cell_line"].astype(str).to_numpy()
    raw = np.asarray(adata.X, dtype=float)
    ranked = np.nan_to_num(2 * rank_within(raw, lines) - 1)
    if how == "coral":
        x = coral(ranked, lines)
    else:
        # what is not measured in a line counts as the mean of the others
        scaled = (raw - np.nanmean(raw, axis=0)) / np.nanstd(raw, axis=0)
        means = {line: np.nan_to_num(np.nanmean(scaled[lines == line], axis=0)) for line in np.unique(lines)}
        x = np.hstack([ranked, np.stack([means[line] for line in lines])])
    made = ad.AnnData(x.astype(np.float32), obs=adata.obs.copy())
    made.var_names = [f"feature_{i}" for i in range(made.n_vars)]
    return made


def in_context(adata: ad.AnnData, how: str) -> ad.AnnData:
    """The same pairs with features that compare them with other candidates."""
    if how == "none":
        return adata
    ends = {"promoter": ["promoter"], "enhancer": ["enhancer"]}.get(how, ["promoter", "enhancer"])
    return wi.pp.pair_context(adata, ends=ends, counts=how != "ranks")


def coral(x: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Whiten the features of every line and give them the mean covariance of all lines (Sun et al., 2016)."""

    def power(covariance: np.ndarray, exponent: float) -> np.ndarray:
        values, vectors = np.linalg.eigh(covariance + 1e-3 * np.eye(len(covariance)))
        return vectors * values**exponent @ vectors.T

    covariances = {line: np.cov(x[lines == line].T) for line in np.unique(lines)}
    target = power(np.mean(list(covariances.values()), axis=0), 0.5)
    aligned = np.empty_like(x)
    for line, covariance in covariances.items():
        rows = lines == line
        aligned[rows] = (x[rows] - x[rows].mean(axis=0)) @ power(covariance, -0.5) @ target
    return aligned


def unseen_line(adata: ad.AnnData, method: str, line: str, arguments: argparse.Namespace) -> pd.DataFrame:
    """Rows of the table of a method for one held-out line."""
    common = {"cell_lines": [line], "folds": arguments.folds, "seed": arguments.seed, "copy": True}
    if method in BASELINES:
        found = wi.tl.cross_context_validate(adata, baselines=[method], **common)
    else:
        how, settings = MODELS[method]
        found = wi.tl.cross_context_validate(
            prepared(adata, how),
            wi.model.CellLineEnergyModel,
            baselines=[],
            model_kwargs=settings,
            train_kwargs={"max_epochs": arguments.epochs, "accelerator": "cpu"},
            **common,
        )
    return found.uns["cross_context_validate"]["table"]


def unseen_chromosomes(adata: ad.AnnData, method: str, line: str, arguments: argparse.Namespace) -> pd.DataFrame:
    """Rows of the table of a baseline within the only line there is."""
    lines, labels = adata.obs["cell_line"].astype(str).to_numpy(), adata.obs["label"].to_numpy(float)
    fold_of = chrom_folds(adata.obs["chrom"].astype(str).to_numpy(), 5)
    distance = adata.obs["distance"].to_numpy(float)
    inputs = baseline_inputs([method], np.asarray(adata.X, dtype=float), lines, distance, None)
    fit = ContextFit(labels, lines, inputs, None, {}, {}, {}, arguments.seed)
    rows = []
    for fold in arguments.folds:
        inner = np.flatnonzero((fold_of != fold) & (fold_of != (fold + 1) % 5))
        validation, test = (np.flatnonzero(fold_of == k % 5) for k in (fold + 1, fold))
        rows.append(fit_context(None, fit, ContextSplit(line, fold, inner, validation, test))[0])
    return pd.concat(rows, ignore_index=True)


def run(name: str, adata: ad.AnnData, arguments: argparse.Namespace) -> pd.DataFrame:
    """All methods on one set."""
    lines = sorted(adata.obs["cell_line"].astype(str).unique())
    methods = [m for m in arguments.methods if len(lines) > 1 or m in BASELINES]
    parts = []
    for method in methods:
        for line in lines:
            label = f"{name}_{arguments.context}_{method}_{line}_{'-'.join(map(str, arguments.folds))}"
            label += f"_{arguments.epochs}_{arguments.seed}"
            file = None if arguments.cache is None else arguments.cache / f"{label.replace(' ', '_')}.csv"
            if file is not None and file.exists():
                rows = pd.read_csv(file)
            else:
                start = time.perf_counter()
                fitted = unseen_line if len(lines) > 1 else unseen_chromosomes
                rows = fitted(adata, method, line, arguments).assign(method=method)
                print(f"{label}: aupr {rows['aupr'].mean():.4f}, {time.perf_counter() - start:.0f} s", flush=True)
                if file is not None:
                    rows.to_csv(file, index=False)
            parts.append(rows)
    table = pd.concat(parts, ignore_index=True)
    table["method"] = pd.Categorical(table["method"], categories=methods)
    return table


def report(name: str, table: pd.DataFrame) -> dict[str, Any]:
    """Print the tables of a set."""
    summary = summarise(table, confidence=0.95)
    means = summary.pivot(index="method", columns="score", values="mean")[SHOWN]
    by_line = table.pivot_table(index="method", columns="cell_line", values="aupr", observed=True)
    paired = differences(table, confidence=0.95)
    paired = paired[paired["reference"].isin(REFERENCES) & paired["score"].isin(["aupr", "ece", "f1"])]
    held_out = len(table) // table["method"].nunique()
    print(f"\n{name}: mean over {held_out} held-out sets of pairs\n{means.round(4).to_string()}")
    print(f"\n{name}: area under the precision–recall curve by held-out line\n{by_line.round(4).to_string()}")
    if len(paired):
        shown = paired.drop(columns=["sd", "n"]).round(4).to_string(index=False)
        print(f"\n{name}: paired differences, method minus reference\n{shown}")
    return {"means": means.to_dict("index"), "by_line": by_line.to_dict("index"), "paired": paired.to_dict("records")}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=["bengi", "targetfinder", "crispr"], default=["bengi"])
    parser.add_argument("--methods", nargs="+", choices=[*BASELINES, *MODELS], default=list(DEFAULT), metavar="NAME")
    parser.add_argument("--ablate", action="store_true", help="every loss and interaction on its own, without trees")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--context", choices=["none", "promoter", "enhancer", "ranks", "all"], default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.ablate:
        arguments.methods = list(ABLATION)
    warnings.filterwarnings("ignore", category=UserWarning)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if arguments.cache is not None:
        arguments.cache.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in arguments.sets:
        results[name] = report(name, run(name, in_context(load(name, arguments.data), arguments.context), arguments))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, default=str, indent=1))


if __name__ == "__main__":
    main()
