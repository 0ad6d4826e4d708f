"""Whether taking drivers away from cancer cell lines gives textbook biology, and nothing where there is nothing.

    python benchmarks/driver_controls.py --data PATH [--epochs 100] [--permuted 1] [--null permutation] [--models DIR]

All 678 lines of CCLE/GDSC whose 19 drivers were called, whatever other layers they have. Five models with default
settings, one per fold (stratified by lineage), and tl.gene_knockout with each line asked of the model that has not seen
it; strata are lineages, FDR is over all 19 drivers × 1142 features of RNA, proteins, phosphosites and metabolites.

First table: 20 positive controls, written down before testing and kept if least squares with lineage passes Bonferroni
over 30 on the 494 complete lines; ``effect`` is what the models expect when the driver is **removed**, so it has the
other sign than the driver. Beside them least squares on driver and lineage, on all these lines. Second: pairs expected
from textbooks that these lines do not show; they must not be called. Third: the layers. Fourth: BCR-ABL1 (4 carriers),
first as tl.fusion_deletion answers by default, then with the verdict forced (min_carriers=3). Last: drivers of whole
lines shuffled within lineages and models fitted anew, ``--permuted`` times: whatever is called then is false.

``--models`` keeps the fitted models in a folder, and takes those that are there.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")

import mudata as md
import numpy as np
import pandas as pd
import scvi
import torch
from _ccle import SETUP, TARGETS, read_ccle
from scipy.stats import false_discovery_control, t
from sklearn.model_selection import StratifiedKFold

import scwhatif as wi

# Driver, layer, start of the name of the feature, and the sign of carriers against others.
CONTROLS = (
    ("PTEN_mut", "protein", "PTEN", -1),
    ("PTEN_mut", "phospho_st", "Akt_pS473", 1),
    ("PTEN_mut", "phospho_st", "Akt_pT308", 1),
    ("PTEN_loss", "protein", "PTEN", -1),
    ("PTEN_loss", "phospho_st", "Akt_pS473", 1),
    ("BRAF_mut", "phospho_st", "MEK1_pS217_S221", 1),
    ("RB1_mut", "protein", "Rb", -1),
    ("RB1_mut", "phospho_st", "Rb_pS807_S811", -1),
    ("TP53_mut", "protein", "p53", 1),
    ("TP53_mut", "protein", "p21", -1),
    ("TP53_mut", "rna", "MDM2", -1),
    ("CDKN2A_loss", "rna", "CDKN2A", -1),
    ("ERBB2_gain", "protein", "HER2", 1),
    ("ERBB2_gain", "phospho_y", "HER2_pY1248", 1),
    ("ERBB2_gain", "rna", "ERBB2", 1),
    ("MYC_gain", "rna", "MYC", 1),
    ("MYC_gain", "protein", "c-Myc", 1),
    ("CCND1_gain", "rna", "CCND1", 1),
    ("STK11_mut", "phospho_st", "AMPK_pT172", -1),
    ("PIK3CA_mut", "phospho_st", "Akt_pS473", 1),
)
NOT_SEEN = (
    ("KRAS_mut", "phospho_st", "MAPK_pT202_Y204"),
    ("NRAS_mut", "phospho_st", "MAPK_pT202_Y204"),
    ("SMAD4_mut", "protein", "Smad4"),
    ("CCND1_gain", "protein", "Cyclin_D1"),
    ("NF1_mut", "phospho_st", "MAPK_pT202_Y204"),
)
FDR = 0.05
SHOWN = ["driver", "layer", "feature", "effect", "low", "high", "observed", "n_carriers", "pval", "padj"]


def load(path: Path) -> md.MuData:
    """Lines with drivers, sorted by name."""
    whole = read_ccle(path, core=False)
    drivers = whole["drivers"]
    names = sorted(drivers.obs_names[~np.isnan(np.asarray(drivers.X)).all(axis=1)])
    with md.set_options(pull_on_update=False):
        return whole[names].copy()


def fit(mdata: md.MuData, epochs: int, folder: Path | None) -> list[wi.model.MultiOmicLPM]:
    """One model per fold."""
    splitter = StratifiedKFold(5, shuffle=True, random_state=42)
    with warnings.catch_warnings():
        # lineages of fewer than five lines
        warnings.simplefilter("ignore", UserWarning)
        splits = list(splitter.split(np.zeros(mdata.n_obs), mdata.obs["lineage"].astype(str)))
    wi.model.MultiOmicLPM.setup_mudata(mdata, **SETUP)
    models = []
    for k, (train, test) in enumerate(splits):
        place = None if folder is None else folder / f"fold_{k}"
        if place is not None and (place / "model.pt").exists():
            models.append(wi.model.MultiOmicLPM.load(place, adata=mdata))
            continue
        model = wi.model.MultiOmicLPM(mdata)
        order = np.random.default_rng(k).permutation(train)
        cut = len(train) // 10
        model.train(epochs, external_indexing=[order[cut:], order[:cut], test], enable_progress_bar=False)
        models.append(model)
        if place is not None:
            model.save(place)
    return models


def least_squares(mdata: md.MuData) -> pd.DataFrame:
    """Statistic and q of every driver in every feature, with a column per lineage beside it."""
    calls = mdata["drivers"].to_df().reindex(mdata.obs_names)
    tables = []
    for layer in TARGETS:
        values = mdata[layer].to_df().reindex(mdata.obs_names)
        for driver in calls:
            seen = calls[driver].notna()
            x = calls.loc[seen, driver].to_numpy(dtype=float)
            lineage = pd.get_dummies(mdata.obs.loc[seen, "lineage"].astype(str)).to_numpy(dtype=float)
            y = values.loc[seen].to_numpy(dtype=float)
            there = ~np.isnan(y)
            found = np.full(y.shape[1], np.nan)
            df = np.ones(y.shape[1])
            # features of one layer share a few patterns of missing values
            patterns, which = np.unique(there, axis=1, return_inverse=True)
            for i, rows in enumerate(patterns.T):
                design = lineage[rows][:, lineage[rows].any(axis=0)]
                columns = np.flatnonzero(which.ravel() == i)
                both = np.column_stack([x[rows], y[rows][:, columns]])
                both -= design @ np.linalg.lstsq(design, both, rcond=None)[0]
                left, target = both[:, 0], both[:, 1:]
                size = left @ left
                if size > 1e-9:
                    slope = left @ target / size
                    df[columns] = rows.sum() - design.shape[1] - 1
                    error = np.square(target - np.outer(left, slope)).sum(axis=0) / df[columns]
                    found[columns] = slope / np.sqrt(error / size)
            tables.append(
                pd.DataFrame({"driver": driver, "layer": layer, "feature": values.columns, "t": found, "df": df})
            )
    table = pd.concat(tables, ignore_index=True)
    pval = 2 * t.sf(table["t"].abs(), table["df"])
    known = np.isfinite(pval) & (table["driver"] != "BCR-ABL1_fusion")
    table["ols_q"] = np.nan
    table.loc[known, "ols_q"] = false_discovery_control(pval[known])
    return table.rename(columns={"t": "ols_t"}).drop(columns="df")


def rows_of(features: pd.DataFrame, pairs: tuple) -> pd.DataFrame:
    """Rows of driver, layer and the feature whose name is, or starts with, what is written."""
    rows = []
    for driver, layer, name, *_ in pairs:
        here = features[(features["driver"] == driver) & (features["layer"] == layer)]
        exact = here[here["feature"].isin([name, f"{name}_Caution"])]
        rows.append(exact if len(exact) else here[here["feature"].str.startswith(name)].iloc[:1])
    return pd.concat(rows, ignore_index=True)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Labels as text, to compare and join by."""
    return table.astype({name: str for name in ("driver", "layer", "feature") if name in table})


def report(mdata: md.MuData, models: list[wi.model.MultiOmicLPM], null: str) -> None:
    """Controls, pairs not seen, layers and the fusion."""
    start = time.perf_counter()
    wi.tl.gene_knockout(mdata, models, layers=list(TARGETS), null=null)
    result = mdata.uns["gene_knockout"]
    print(f"gene_knockout: {time.perf_counter() - start:.0f} s\n")
    features = as_text(result["features"]).merge(least_squares(mdata), on=["driver", "layer", "feature"])

    controls = rows_of(features, CONTROLS)
    expected = -np.array([sign for *_, sign in CONTROLS])
    passed = (np.sign(controls["effect"]) == expected) & (controls["padj"] < FDR)
    ols = (np.sign(controls["ols_t"]) == -expected) & (controls["ols_q"] < FDR)
    shown = controls[[*SHOWN, "selection_probability", "ols_t", "ols_q"]].assign(expected=expected, passed=passed)
    print(shown.to_markdown(index=False, floatfmt=".3g"))
    print(f"\npositive controls with the right sign at q < {FDR}: {passed.sum()} of 20; least squares: {ols.sum()}\n")
    negatives = rows_of(features, NOT_SEEN)
    print(negatives[[*SHOWN, "ols_t", "ols_q"]].to_markdown(index=False, floatfmt=".3g"))
    print(f"\ncalled among the pairs not seen: {(negatives['padj'] < FDR).sum()} of {len(negatives)}")
    called, by_ols = features["padj"] < FDR, features["ols_q"] < FDR
    print(f"features called: {called.sum()}; least squares: {by_ols.sum()}; both: {(called & by_ols).sum()}\n")
    print(result["table"].to_markdown(index=False, floatfmt=".3g"))
    print()
    print(result["drivers"].to_markdown(index=False, floatfmt=".3g"))
    for least in (5, 3):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            wi.tl.fusion_deletion(mdata, models, "BCR-ABL1_fusion", layers=list(TARGETS), min_carriers=least)
        print(f"\nBCR-ABL1, min_carriers={least}{': ' + str(told[-1].message) if told else ''}\n")
        print(mdata.uns["fusion_deletion"]["table"].to_markdown(index=False, floatfmt=".3g"))
    print()
    print(mdata.uns["fusion_deletion"]["contrasts"].to_markdown(index=False, floatfmt=".3g"))
    sites = mdata.uns["fusion_deletion"]["features"]
    best = sites[sites["layer"] == "phospho_y"].sort_values("pval").head(4)
    print("\n" + best.to_markdown(index=False, floatfmt=".3g"))


def report_shuffled(mdata: md.MuData, seed: int, arguments: argparse.Namespace) -> None:
    """What is called when drivers were shuffled within lineages before anything was fitted."""
    shuffled = mdata.copy()
    rng = np.random.default_rng(seed)
    drivers = shuffled["drivers"]
    lineage = mdata.obs["lineage"].astype(str).loc[drivers.obs_names].to_numpy()
    order = np.arange(drivers.n_obs)
    for name in np.unique(lineage):
        order[lineage == name] = rng.permutation(np.flatnonzero(lineage == name))
    drivers.X = drivers.X[order]
    models = fit(shuffled, arguments.epochs, None if arguments.models is None else arguments.models / f"null_{seed}")
    wi.tl.gene_knockout(shuffled, models, layers=list(TARGETS), null=arguments.null, n_pairs=0, seed=seed)
    result = shuffled.uns["gene_knockout"]
    for name in ("features", "table", "drivers"):
        tested = result[name]["pval"].dropna()
        below, called = (tested < FDR).mean(), int((result[name]["padj"] < FDR).sum())
        print(f"shuffled {seed}, {name}: p < {FDR} in {below:.1%} of {len(tested)}; called at q < {FDR}: {called}")


def main() -> None:
    """Fit, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--permuted", type=int, default=1)
    parser.add_argument("--null", default="permutation", choices=["permutation", "conditional"])
    parser.add_argument("--models", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    scvi.settings.verbosity = logging.ERROR
    warnings.filterwarnings("ignore", module="lightning|mudata|scvi")
    torch.set_num_threads(1)
    mdata = load(arguments.data)
    start = time.perf_counter()
    models = fit(mdata, arguments.epochs, None if arguments.models is None else arguments.models / "observed")
    print(f"{mdata.n_obs} lines; 5 models: {time.perf_counter() - start:.0f} s")
    report(mdata, models, arguments.null)
    print()
    for seed in range(arguments.permuted):
        report_shuffled(mdata, seed, arguments)


if __name__ == "__main__":
    main()
