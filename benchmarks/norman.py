"""Do latent arithmetics predict double perturbations? Beside what needs no model, and a repeat of the experiment.

    python benchmarks/norman.py --data PATH [--seeds 5] [--epochs 200] [--latent 20] [--splits 20] [--draws 10]
        [--models betalinear scvi scgen ...] [--json FILE]

PATH/norman holds 3373 K562 cells × 500 genes of a CRISPRa screen (counts): control, 18 single and 15 double
perturbations, about 100 cells each. The 5 doubles whose singles were both measured are predicted; models and floors see
all others. A model is asked what control cells would be with the mean latent shifts of both singles added, and draws
counts from its likelihood; these are normalised as the data were, and the mean over cells is the profile (scGen works
on normalised data, and its decoded means are taken as they are). ``as decoded`` is that profile; ``as a change`` adds
its difference from the same model's control profile to the observed control, so that misfits of the control cancel.
Library sizes are totals over these 500 genes, kept as they are in the control; size factors are totals over all genes.

First table: scores of mean profiles against the half of the cells that the technical duplicate has not seen; mean ± sd
over fits. Second: the mean over fits as one predictor, with 95 % intervals over the 5 doubles, paired difference from
the best floor (above 0 is better), and calibrated between train mean and duplicate. Third: energy distance of
predicted cells to the observed half, per double, and how often it is told from 0 by permutation.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TQDM_DISABLE", "1")

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch

import scwhatif as wi

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
TOTAL = 1e4


class Screen(NamedTuple):
    """Cells, and which of them are what."""

    counts: ad.AnnData
    logged: np.ndarray
    label: np.ndarray
    tested: list[str]

    @property
    def seen(self) -> np.ndarray:
        """Cells that may be trained on."""
        return ~np.isin(self.label, self.tested)


# Latent codes of the cells that may be trained on, and what draws cells at other codes.
Fitted = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]


def log_normalised(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Logarithm of counts per 10 000 of all genes, measured or not in this subset."""
    return np.log1p(counts / totals[:, None] * TOTAL)


def load(path: Path) -> Screen:
    """Counts, log-normalised values, and the doubles whose singles are there."""
    adata = ad.read_h5ad(path / "norman" / "norman19_counts_subset.h5ad")
    adata.obs["size"] = adata.obs["ncounts"] / adata.obs["ncounts"].mean()
    label = adata.obs["perturbation"].astype(str).to_numpy()
    names = set(label)
    tested = sorted(name for name in names if "+" in name and set(name.split("+")) <= names)
    return Screen(adata, log_normalised(adata.X.toarray(), adata.obs["ncounts"].to_numpy()), label, tested)


def beta_linear(screen: Screen, seed: int, arguments: argparse.Namespace, size: str | None) -> Fitted:
    """BetaLinearSCVI with its defaults."""
    train = screen.counts[screen.seen].copy()
    wi.model.BetaLinearSCVI.setup_anndata(train, size_factor_key=size)
    model = wi.model.BetaLinearSCVI(train, n_latent=arguments.latent, seed=seed)
    model.train(arguments.epochs, seed=seed, check_val_every_n_epoch=arguments.epochs, **SILENT)
    return model.get_latent_representation(), lambda z: drawn_counts(model, z, screen, arguments.draws)


def stock(screen: Screen, seed: int, arguments: argparse.Namespace, size: str | None) -> Fitted:
    """SCVI, negative binomial; at five times its default learning rate, with which it fits better in these epochs."""
    train = screen.counts[screen.seen].copy()
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(train, size_factor_key=size)
    model = scvi.model.SCVI(train, n_latent=arguments.latent, gene_likelihood="nb")
    plan = {"n_epochs_kl_warmup": arguments.epochs // 4, "lr": 5e-3}
    model.train(arguments.epochs, plan_kwargs=plan, check_val_every_n_epoch=arguments.epochs, **SILENT)
    return model.get_latent_representation(), lambda z: drawn_counts(model, z, screen, arguments.draws)


@torch.inference_mode()
def drawn_counts(model: object, z: np.ndarray, screen: Screen, n_draws: int) -> np.ndarray:
    """Log-normalised cells that a count model draws at latent codes of control cells, moved or not."""
    control = screen.counts[screen.label == "control"]
    library = torch.from_numpy(np.asarray(control.X.sum(axis=1)).reshape(-1, 1)).float().log()
    size = torch.from_numpy(control.obs["size"].to_numpy()[:, None]).float()
    batch = torch.zeros(len(z), 1, dtype=torch.long)
    model.module.eval()
    px = model.module.generative(torch.from_numpy(z).float(), library, batch, size_factor=size)["px"]
    totals = control.obs["ncounts"].to_numpy()
    return np.concatenate([log_normalised(px.sample().numpy(), totals) for _ in range(n_draws)])


def scgen(screen: Screen, seed: int, arguments: argparse.Namespace, _: str | None) -> Fitted:
    """ScGen as published (800 × 2 hidden units, 100 dimensions, squared error, KL × 5e-5), by layers of scvi-tools."""
    torch.manual_seed(seed)
    x = torch.from_numpy(screen.logged[screen.seen]).float()
    layers = {"n_layers": 2, "n_hidden": 800, "dropout_rate": 0.2, "activation_fn": torch.nn.LeakyReLU}
    encoder = scvi.nn.Encoder(x.shape[1], 100, **layers)
    decoder = torch.nn.Sequential(scvi.nn.FCLayers(100, 800, **layers), torch.nn.Linear(800, x.shape[1]))
    both = torch.nn.ModuleList([encoder, decoder])
    optimizer = torch.optim.Adam(both.parameters(), lr=1e-3, eps=0.01, weight_decay=1e-6)
    for _epoch in range(min(arguments.epochs, 100)):
        for cells in torch.randperm(len(x)).split(32)[:-1]:
            mean, variance, z = encoder(x[cells])
            kl = 0.5 * (mean.square() + variance - variance.log() - 1).sum(dim=1)
            loss = (0.5 * (decoder(z) - x[cells]).square().sum(dim=1) + 0.5 * 5e-5 * kl).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    both.eval()
    with torch.inference_mode():
        codes = encoder(x)[0].numpy()
    return codes, lambda z: decoder(torch.from_numpy(z).float()).detach().numpy()


MODELS: dict[str, tuple[str, Callable[..., Fitted], str | None]] = {
    "betalinear": ("BetaLinearSCVI", beta_linear, None),
    "betalinear_size": ("BetaLinearSCVI, size factor", beta_linear, "size"),
    "scvi": ("SCVI", stock, None),
    "scvi_size": ("SCVI, size factor", stock, "size"),
    "scgen": ("scGen", scgen, None),
}


def what_if(key: str, screen: Screen, seed: int, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Predicted cells of every tested double, and of the control."""
    _, fit, size = MODELS[key]
    codes, draw = fit(screen, seed, arguments, size)
    label = screen.label[screen.seen]
    mean = pd.DataFrame(codes).groupby(label).mean()
    control = codes[label == "control"]
    torch.manual_seed(seed)
    cells = {"control": draw(control)}
    for double in screen.tested:
        shift = (mean.loc[double.split("+")] - mean.loc["control"]).sum().to_numpy()
        cells[double] = draw(control + shift)
    return cells


def profiles(cells: dict[str, np.ndarray], observed: pd.DataFrame, control: pd.Series) -> dict[str, pd.DataFrame]:
    """Mean profiles of predicted cells, as they are and as changes of the observed control."""
    table = pd.DataFrame({name: each.mean(axis=0) for name, each in cells.items()}, index=observed.columns).T
    decoded = table.loc[observed.index]
    return {"as decoded": decoded, "as a change": decoded - table.loc["control"] + control}


def energy(predicted: dict[str, dict[str, list[np.ndarray]]], screen: Screen) -> pd.DataFrame:
    """Energy distance of predicted cells to the half that was observed, and whether it is told from 0."""
    rng = np.random.default_rng(0)
    mean = pd.DataFrame(screen.logged).groupby(screen.label).mean()
    control = screen.logged[screen.label == "control"]
    rows = []
    for double in screen.tested:
        order = rng.permutation(screen.logged[screen.label == double])
        repeat, observed = np.array_split(order, 2)
        shift = (mean.loc[double.split("+")] - mean.loc["control"]).sum().to_numpy()
        simple = {
            "no change": control,
            "additive, control cells moved": control + shift,
            "technical duplicate": repeat,
        }
        drawn = {name: cells for name, by_double in predicted.items() for cells in [by_double[double]]}
        for name, several in ({name: [cells] for name, cells in simple.items()} | drawn).items():
            for cells in several:
                test = wi.metrics.distance_test(cells[: len(control)], observed, n_permutations=199)
                rows.append({"predictor": name, "double": double, "e": test.distance, "told": test.pval <= 0.05})
    table = pd.DataFrame(rows).groupby("predictor", sort=False)
    shown = table["e"].mean().to_frame("mean")
    each = pd.DataFrame(rows).pivot_table("e", "predictor", "double", sort=False)
    return shown.join(each).join(table["told"].mean().rename("told from observed, share"))


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--latent", type=int, default=20)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    screen = load(arguments.data)
    genes = screen.counts.var_names.astype(str)
    mean = pd.DataFrame(screen.logged, columns=genes).groupby(screen.label).mean()
    control, observed = mean.loc["control"], mean.loc[screen.tested]
    train = mean.drop(index=["control", *screen.tested])
    perturbed = screen.label != "control"

    fits: dict[str, list[pd.DataFrame]] = {}
    drawn: dict[str, dict[str, list[np.ndarray]]] = {}
    for key in arguments.models:
        start = time.process_time()
        for seed in range(arguments.seeds):
            cells = what_if(key, screen, seed, arguments)
            for how, table in profiles(cells, observed, control).items():
                fits.setdefault(f"{MODELS[key][0]}, {how}", []).append(table)
            for double in screen.tested:
                drawn.setdefault(MODELS[key][0], {}).setdefault(double, []).append(cells[double])
        print(f"{MODELS[key][0]}: {(time.process_time() - start) / arguments.seeds:.0f} CPU s per fit", flush=True)

    # of every fit, and of the mean over fits
    predicted = {f"{name} #{i}": table for name, tables in fits.items() for i, table in enumerate(tables)}
    predicted |= {name: sum(tables) / len(tables) for name, tables in fits.items()}
    scores = wi.metrics.evaluate_perturbation(
        predicted,
        observed,
        control,
        train=train,
        cells=screen.logged[perturbed],
        perturbation=screen.label[perturbed],
        n_splits=arguments.splits,
    )
    scores["name"] = scores["predictor"].str.replace(r" #\d+$", "", regex=True)
    of_fits = scores[scores["predictor"].str.contains("#") | (scores["kind"] != "model")]
    summary = of_fits.groupby(["name", "metric"], sort=False)["value"].agg(["mean", "std"]).reset_index()
    summary["shown"] = [
        f"{m:.3g}" if np.isnan(s) else f"{m:.3g} ± {s:.1g}" for m, s in summary[["mean", "std"]].itertuples(index=False)
    ]
    print(f"\n{len(screen.tested)} doubles ({', '.join(screen.tested)}) × {len(genes)} genes, ", end="")
    print(
        f"{arguments.seeds} fits of {arguments.epochs} epochs, {arguments.latent} dimensions, {arguments.splits} splits"
    )
    print(summary.pivot(index="name", columns="metric", values="shown").loc[summary["name"].unique()].to_markdown())

    whole = scores[~scores["predictor"].str.contains("#")]
    for metric in ("mse", "pearson_mean", "weighted_r2", "discrimination"):
        rows = whole[whole["metric"] == metric].set_index("predictor")
        columns = {"value": ("value", "low", "high"), "gain over best floor": ("gain", "gain_low", "gain_high")}
        shown = pd.DataFrame(
            {
                title: [f"{v:.3g} [{low:.3g}, {high:.3g}]" for v, low, high in rows[list(names)].to_numpy()]
                for title, names in columns.items()
            },
            index=rows.index,
        )
        shown["calibrated"] = rows["calibrated"].round(3)
        print(f"\n{metric}, dynamic range {rows['dynamic_range'].iloc[0]:.2f}")
        print(shown.to_markdown())

    print("\nenergy distance of predicted to observed cells, log-normalised")
    print(energy(drawn, screen).round(3).to_markdown())
    if arguments.json:
        arguments.json.write_text(json.dumps(scores.to_dict("records"), indent=1))


if __name__ == "__main__":
    main()
