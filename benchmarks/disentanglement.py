"""How readable are the axes? BetaLinearSCVI and its rotations beside the models people use, on real cells, in one run.

    python benchmarks/disentanglement.py --data PATH [--seeds 5] [--first-seed 0] [--epochs 150] [--genes 1000]
        [--latent 10] [--sets pbmc68k mixology5 mixology3 kang] [--models beta4 linearscvi ...] [--json FILE]

Per data set and method (mean ± sd over seeds): latent matching scores by mutual information (LMS-SMI) and by
neighbours (LMS-SPN), DCI disentanglement (DCI-D), all on dimensions in use; balanced accuracy of a cross-validated
logistic probe reading the batch; dimensions in use; reconstruction loss per held-out cell (only comparable between
models with the same likelihood and library); agreement of the axes with those of the seeds before (mean absolute
correlation of matched dimensions over all cells); CPU seconds of the fit on one thread. Labels are cell types or
lines; for kang cell type and condition, where LMS asks for one dimension per cell type and one for the condition, and
DCI-D for cell type and condition to use different dimensions.

No dimension is split into a positive and a negative half, for any model. All variational models get the batch; PCA,
ICA, NMF and factor analysis get log-normalised counts. Every linear model is also read in rotated axes (not NMF and
non-negative loadings, which a rotation would make negative). DRVI is included where the package ``drvi-py`` can be
imported. PATH holds ``sc_mixology/`` and ``kang/``; what is absent is skipped with a word.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scvi
import torch
from sklearn.decomposition import NMF, PCA, FactorAnalysis, FastICA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scwhatif as wi
from scwhatif.engine import loading_rotation

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
SETS = {
    "pbmc68k": (None, None, ["cell_type"]),
    "mixology5": ("sc_mixology/sc5cl_3plate.h5ad", "dataset", ["cell_line_demuxlet"]),
    "mixology3": ("sc_mixology/sc3cl_2protocol.h5ad", "dataset", ["cell_line"]),
    "kang": ("kang/kang_muscat.h5ad", "donor", ["cell_type", "condition"]),
}
Codes = Iterator[tuple[str, np.ndarray, float]]


def load(name: str, folder: Path, n_genes: int) -> ad.AnnData | None:
    """Singlets × most variable genes, counts."""
    file, _, _ = SETS[name]
    if file is None:
        return wi.datasets.pbmc68k()
    if not (folder / file).is_file():
        print(f"\n{name}: skipped, {file} is not there")
        return None
    adata = ad.read_h5ad(folder / file)
    if "demuxlet_cls" in adata.obs:
        adata = adata[adata.obs["demuxlet_cls"] != "DBL"].copy()
    normalised = log_normalised(adata)
    sc.pp.highly_variable_genes(normalised, n_top_genes=min(n_genes, adata.n_vars))
    adata = adata[:, normalised.var["highly_variable"].to_numpy()].copy()
    sc.pp.filter_cells(adata, min_counts=1)
    return adata


def log_normalised(adata: ad.AnnData) -> ad.AnnData:
    """Copy with X log-normalised."""
    normalised = adata.copy()
    sc.pp.normalize_total(normalised)
    sc.pp.log1p(normalised)
    return normalised


def held_out(model: object) -> float:
    """Reconstruction loss per validation cell after the last epoch."""
    return float(model.history["reconstruction_loss_validation"].iloc[-1, 0])


def one_sided(loadings: np.ndarray, n_iter: int = 500, tolerance: float = 1e-7) -> np.ndarray:
    """Rotation with the largest sum of cubes of the positive loadings: every dimension raises few genes by much.

    The criterion is convex in the rotation, so that every step of the iteration of singular value decompositions
    raises it. It starts from varimax, signed to the side where the loadings are larger.
    """
    rotation = loading_rotation(loadings)
    rotation *= np.where(((loadings @ rotation) ** 3).sum(axis=0) < 0, -1.0, 1.0)
    previous = 0.0
    for _ in range(n_iter):
        left, singular, right = np.linalg.svd(loadings.T @ np.maximum(loadings @ rotation, 0) ** 2)
        rotation = left @ right
        if singular.sum() <= previous * (1 + tolerance):
            break
        previous = singular.sum()
    return rotation


def rotated(z: np.ndarray, loadings: np.ndarray, reconstruction: float) -> Codes:
    """The codes in rotations of their loadings."""
    # the variance below which BetaLinearSCVI.rotate leaves a dimension alone
    active = z.var(axis=0) > wi.metrics.ACTIVE_VARIANCE
    z, loadings = z[:, active], loadings[:, active]
    for method in ("varimax", "ica"):
        yield f" + {method}", z @ loading_rotation(loadings, method), reconstruction
    yield " + one-sided", z @ one_sided(loadings), reconstruction


def beta_linear(
    adata: ad.AnnData, batch_key: str | None, seed: int, epochs: int, n_latent: int, **settings: object
) -> Codes:
    """BetaLinearSCVI as trained and, unless its loadings are constrained, rotated."""
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key=batch_key)
    model = wi.model.BetaLinearSCVI(adata, n_latent=n_latent, seed=seed, **settings)
    model.train(epochs, seed=seed, check_val_every_n_epoch=epochs, **SILENT)
    yield "", model.get_latent_representation(), held_out(model)
    if settings.get("decoder") != "nonnegative":
        yield from rotated(model.get_latent_representation(), model.get_loadings().to_numpy(float), held_out(model))


def stock(cls: type, adata: ad.AnnData, batch_key: str | None, seed: int, epochs: int, n_latent: int) -> Codes:
    """A model of scvi-tools (or DRVI) with a KL warm-up that is reached."""
    scvi.settings.seed = seed
    cls.setup_anndata(adata, batch_key=batch_key)
    model = cls(adata, n_latent=n_latent)
    plan = {"n_epochs_kl_warmup": epochs // 4}
    model.train(epochs, check_val_every_n_epoch=epochs, plan_kwargs=plan, **SILENT)
    z = model.get_latent_representation()
    yield "", z, held_out(model)
    if hasattr(model, "get_loadings"):
        loadings = model.get_loadings().to_numpy(float)
        yield from rotated(z, loadings - loadings.mean(axis=0), held_out(model))


def drvi(adata: ad.AnnData, batch_key: str | None, seed: int, epochs: int, n_latent: int) -> Codes:
    """DRVI with its defaults."""
    from drvi.model import DRVI

    scvi.settings.seed = seed
    counts = ad.AnnData(
        adata.X.copy(), obs=adata.obs.copy(), var=adata.var[[]].copy(), layers={"counts": adata.X.copy()}
    )
    DRVI.setup_anndata(
        counts, layer="counts", categorical_covariate_keys=[batch_key] if batch_key else None, is_count_data=True
    )
    model = DRVI(counts, n_latent=n_latent)
    model.train(max_epochs=epochs, check_val_every_n_epoch=epochs, plan_kwargs={"n_epochs_kl_warmup": epochs}, **SILENT)
    yield "", model.get_latent_representation(), held_out(model)


def classical(
    make: Callable[..., object], adata: ad.AnnData, _: str | None, seed: int, __: int, n_latent: int
) -> Codes:
    """A scikit-learn factor model on log-normalised counts."""
    x = log_normalised(adata).X
    x = x.toarray() if hasattr(x, "toarray") else np.asarray(x)
    model = make(n_components=n_latent, random_state=seed)
    z = model.fit_transform(x)
    yield "", z, np.nan
    if isinstance(model, PCA | FactorAnalysis):
        # unscaled scores, in axes chosen by the scaled loadings: with scaled scores PCA reads worse
        yield from rotated(z, model.components_.T * z.std(axis=0), np.nan)


MODELS: dict[str, tuple[str, Callable[..., Codes]]] = {
    "beta1": ("BetaLinearSCVI, β 1", lambda *a: beta_linear(*a)),
    "beta4": ("BetaLinearSCVI, β 4", lambda *a: beta_linear(*a, beta=4.0)),
    "tc5": ("BetaLinearSCVI, TC 5", lambda *a: beta_linear(*a, beta=5.0, objective="total_correlation")),
    "nonneg1": ("BetaLinearSCVI, non-negative, β 1", lambda *a: beta_linear(*a, decoder="nonnegative")),
    "nonneg4": ("BetaLinearSCVI, non-negative, β 4", lambda *a: beta_linear(*a, decoder="nonnegative", beta=4.0)),
    "linearscvi": ("LinearSCVI", lambda *a: stock(scvi.model.LinearSCVI, *a)),
    "scvi": ("scVI", lambda *a: stock(scvi.model.SCVI, *a)),
    "drvi": ("DRVI", drvi),
    "pca": ("PCA", lambda *a: classical(PCA, *a)),
    "ica": ("ICA", lambda *a: classical(FastICA, *a)),
    "nmf": ("NMF", lambda *a: classical(NMF, *a)),
    "fa": ("FactorAnalysis", lambda *a: classical(FactorAnalysis, *a)),
}


def scores(
    z: np.ndarray, labels: pd.DataFrame, batch: pd.Series | None, seed: int, *, unit_prior: bool
) -> dict[str, float]:
    """Readability of the dimensions in use, and of the batch from all of them."""
    used = z[:, z.var(axis=0) > (wi.metrics.ACTIVE_VARIANCE if unit_prior else 0)]
    if not used.shape[1]:
        return {"LMS-SMI": 0.0, "LMS-SPN": 0.0, "DCI-D": 0.0, "batch, logistic": np.nan, "in use": 0.0}
    factors = labels.astype(str)
    table = wi.metrics.disentanglement(
        used,
        factors.squeeze(axis=1).to_numpy() if factors.shape[1] == 1 else factors,
        metrics=["LMS-SMI", "LMS-SPN", "DCI-D"],
        n_shuffles=0,
        seed=seed,
    )
    row = table["score"].to_dict()
    row["batch, logistic"] = np.nan
    if batch is not None:
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        accuracy = cross_val_score(probe, z, batch.astype(str), cv=folds, scoring="balanced_accuracy")
        row["batch, logistic"] = accuracy.mean()
    row["in use"] = float(used.shape[1])
    return row


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--latent", type=int, default=10)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = []
    for name in arguments.sets:
        adata = load(name, arguments.data, arguments.genes)
        if adata is None:
            continue
        _, batch_key, label_keys = SETS[name]
        for key in arguments.models:
            title, fit = MODELS[key]
            if key == "drvi" and find_spec("drvi") is None:
                print("DRVI: skipped, drvi-py is not installed")
                continue
            earlier: dict[str, list[np.ndarray]] = {}
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                # every time, since numba's kernels in scanpy raise torch's number of threads again
                torch.set_num_threads(1)
                start = time.process_time()
                for suffix, z, reconstruction in fit(adata, batch_key, seed, arguments.epochs, arguments.latent):
                    batch = None if batch_key is None else adata.obs[batch_key]
                    seconds = np.nan if suffix else time.process_time() - start
                    row = scores(z, adata.obs[label_keys], batch, seed, unit_prior=not np.isnan(reconstruction))
                    before = earlier.setdefault(suffix, [])
                    agreement = [wi.metrics.factor_stability([z, other]).mean for other in before]
                    before.append(z)
                    rows.append(
                        {"data": name, "method": title + suffix, "seed": seed, **row}
                        | {"held-out reconstruction": reconstruction}
                        | {"agreement": np.mean(agreement) if agreement else np.nan, "CPU s": seconds}
                    )
                if arguments.json:
                    arguments.json.write_text(json.dumps(rows, indent=1))
        table = pd.DataFrame(rows).query("data == @name").drop(columns=["data", "seed"])
        summary = table.groupby("method", sort=False).agg(["mean", "std"])
        shown = pd.DataFrame(
            {
                column: [f"{m:.3g} ± {s:.2g}" for m, s in summary[column].to_numpy()]
                for column in summary.columns.unique(level=0)
            },
            index=summary.index,
        )
        print(f"\n{name}: {adata.n_obs} cells × {adata.n_vars} genes, {arguments.latent} dimensions,", end=" ")
        print(f"{arguments.seeds} seeds from {arguments.first_seed}, {arguments.epochs} epochs")
        print(shown.to_markdown(), flush=True)


if __name__ == "__main__":
    main()
