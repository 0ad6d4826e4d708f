"""MultiOmicLPM on 494 cancer cell lines: R² of hidden layers, beside what needs less, on the same folds.

    python benchmarks/multi_omic.py --data PATH [--scheme random lineage] [--folds 0 1 2 3 4] [--methods …]
        [--ablations] [--n-elastic 40] [--directory DIR] [--out CSV]
    python benchmarks/multi_omic.py --growth

Five folds, either of lines at random or of whole lineages (``--scheme lineage``). Every layer is predicted from all
others; squares are about the mean of the training lines; R² is the mean over features, then over folds. Everything is
standardised, tuned and fitted on the training lines.

``mean``, ``lineage`` (ridge on the tissue), ``drivers`` (ridge), ``ridge`` (all layers side by side), ``ridge_blocks``
(each layer scaled to the same variance), ``stack`` (a ridge per layer, combined by non-negative least squares on exact
leave-one-out predictions), ``stack_lineage`` (with the tissue as one more layer), ``elastic_net`` (on ``--n-elastic``
features per layer, since it takes seconds per feature; all methods are also scored on just these), ``pls``, ``mofa``
(20 factors from mofapy2, projected without the hidden layer, ridge on the factors) and ``move`` (move-dl, the hidden
layer zeroed as MOVE does where nothing was measured). ``ours`` is tl.cross_validate with default settings and the
tissue as covariate, ``ours_nocov`` the same without; with ``--ablations`` also without alignment (``ours_noalign``) and
without same-gene links (``ours_nocis``). Parts of the default model, its latent path and its evidence, are scored on
their own, and so are reconstruction and prediction from the drivers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import pandas as pd
import scvi
import torch
from _ccle import SETUP, TARGETS, read_ccle
from scipy.optimize import nnls
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import ElasticNetCV
from sklearn.model_selection import GroupKFold, KFold

import scwhatif as wi
from scwhatif.nn import ridge_loo

if TYPE_CHECKING:
    from collections.abc import Callable

    import mudata as md

OURS = {
    "ours": ({}, {}),
    "ours_nocov": ({"categorical_covariate_keys": None}, {}),
    "ours_noalign": ({}, {"align_weight": 0.0}),
    "ours_nocis": ({"cis": None}, {}),
}
ABLATIONS = ("ours_noalign", "ours_nocis")


class Fold:
    """Standardised layers of the training and test lines of one fold."""

    def __init__(self, mdata: md.MuData, train: np.ndarray, test: np.ndarray) -> None:
        self.train, self.test = train, test
        self.z: dict[str, np.ndarray] = {}
        for name in mdata.mod:
            x = mdata[name].to_df().loc[mdata.obs_names].to_numpy(dtype=float)
            mean, sd = np.nanmean(x[train], axis=0), np.nanstd(x[train], axis=0)
            self.z[name] = np.nan_to_num((x - mean) / np.where(sd > 1e-6, sd, 1.0))
        tissue = pd.get_dummies(mdata.obs["lineage"]).to_numpy(dtype=float)
        self.tissue = tissue - tissue[train].mean(axis=0)

    def others(self, target: str) -> dict[str, np.ndarray]:
        """All layers but the target."""
        return {name: z for name, z in self.z.items() if name != target}

    def ridge(self, x: np.ndarray, target: str) -> tuple[np.ndarray, np.ndarray]:
        """Leave-one-out predictions of the training lines, and predictions of the test lines."""
        y = self.z[target][self.train]
        fit = ridge_loo(x[self.train], y, np.ones(y.shape, dtype=bool))
        return fit.left_out, fit.predict(x[self.test])


def stack(fold: Fold, target: str, *, tissue: bool = False) -> np.ndarray:
    """A ridge regression per layer, combined feature by feature."""
    sources = list(fold.others(target).values()) + ([fold.tissue] if tissue else [])
    left_out, test = (np.stack(each, axis=-1) for each in zip(*(fold.ridge(x, target) for x in sources), strict=True))
    y = fold.z[target][fold.train]
    return np.column_stack([test[:, j] @ nnls(left_out[:, j], y[:, j])[0] for j in range(y.shape[1])])


def elastic_net(fold: Fold, target: str, n_features: int) -> np.ndarray:
    """Elastic net feature by feature, for some of them; NaN for the others."""
    x = np.hstack(list(fold.others(target).values()))
    y = fold.z[target]
    predicted = np.full((len(fold.test), y.shape[1]), np.nan)
    for j in some(y.shape[1], n_features):
        net = ElasticNetCV(l1_ratio=0.5, alphas=np.geomspace(0.03, 0.5, 7), cv=3, max_iter=500, tol=1e-3)
        predicted[:, j] = net.fit(x[fold.train], y[fold.train, j]).predict(x[fold.test])
    return predicted


def some(n: int, n_wanted: int) -> np.ndarray:
    """The features that the elastic net is run on."""
    return np.sort(np.random.default_rng(42).permutation(n)[:n_wanted])


def pls(fold: Fold, target: str) -> np.ndarray:
    """Partial least squares, number of components by an inner cross-validation."""
    x, y = np.hstack(list(fold.others(target).values())), fold.z[target]
    errors = dict.fromkeys((5, 10, 20), 0.0)
    for inner, left in KFold(3, shuffle=True, random_state=0).split(fold.train):
        rows, out = fold.train[inner], fold.train[left]
        for n in errors:
            n_used = min(n, y.shape[1])
            errors[n] += np.square(
                y[out] - PLSRegression(n_used, max_iter=100).fit(x[rows], y[rows]).predict(x[out])
            ).sum()
    best = min(min(errors, key=errors.__getitem__), y.shape[1])
    return PLSRegression(best, max_iter=100).fit(x[fold.train], y[fold.train]).predict(x[fold.test])


def fit_mofa(fold: Fold) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weights and precisions of 20 factors of all layers."""
    from mofapy2.run.entry_point import entry_point

    names = list(fold.z)
    with contextlib.redirect_stdout(io.StringIO()):
        entry = entry_point()
        entry.set_data_options(scale_views=False, scale_groups=False)
        entry.set_data_matrix(
            [[fold.z[name][fold.train]] for name in names], views_names=names, likelihoods=["gaussian"] * len(names)
        )
        entry.set_model_options(factors=20, spikeslab_weights=False)
        entry.set_train_options(iter=150, convergence_mode="fast", seed=42, quiet=True, verbose=False)
        entry.build()
        entry.run()
    weights, noise = entry.model.nodes["W"].getExpectation(), entry.model.nodes["Tau"].getExpectation()
    return {
        name: (w, np.asarray(t).reshape(-1, w.shape[0])[0]) for name, w, t in zip(names, weights, noise, strict=True)
    }


def mofa(fold: Fold, target: str, fitted: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Ridge regression on factors read from all other layers."""
    others = fold.others(target)
    precision = sum((fitted[name][0].T * fitted[name][1]) @ fitted[name][0] for name in others)
    projected = sum(z @ (fitted[name][0] * fitted[name][1][:, None]) for name, z in others.items())
    factors = np.linalg.solve(np.eye(len(precision)) + precision, projected.T).T
    return fold.ridge(factors, target)[1]


def fit_move(fold: Fold) -> Any:
    """MOVE's variational autoencoder of all layers."""
    # its only trouble with NumPy 2 is an alias that is gone
    vars(np)["float_"] = np.float64
    from move.data.dataloaders import make_dataloader
    from move.models.vae import VAE
    from move.training.training_loop import training_loop

    torch.manual_seed(42)
    parts = [z[fold.train].astype(np.float32) for z in fold.z.values()]
    model = VAE(
        categorical_shapes=[],
        continuous_shapes=[z.shape[1] for z in parts],
        continuous_weights=[1] * len(parts),
        num_hidden=[500],
        num_latent=50,
        beta=1e-4,
        dropout=0.1,
    )
    loader = make_dataloader(con_list=parts, batch_size=16, shuffle=True, drop_last=True)
    training_loop(model, loader, lr=1e-4, num_epochs=100, kld_warmup_steps=[15, 20, 25])
    return model.eval()


def move(fold: Fold, target: str, fitted: Any) -> np.ndarray:
    """Decoded layer after encoding with zeros in its place."""
    x = np.hstack([np.zeros_like(z) if name == target else z for name, z in fold.z.items()])[fold.test]
    with torch.no_grad():
        _, decoded, *_ = fitted(torch.from_numpy(x.astype(np.float32)))
    start = dict(zip(fold.z, np.cumsum([0, *(z.shape[1] for z in fold.z.values())])[:-1], strict=True))[target]
    return decoded.numpy()[:, start : start + fold.z[target].shape[1]]


SIMPLE: dict[str, Callable[[Fold, str], np.ndarray]] = {
    "mean": lambda fold, target: np.zeros((len(fold.test), fold.z[target].shape[1])),
    "lineage": lambda fold, target: fold.ridge(fold.tissue, target)[1],
    "drivers": lambda fold, target: fold.ridge(fold.z["drivers"], target)[1],
    "ridge": lambda fold, target: fold.ridge(np.hstack(list(fold.others(target).values())), target)[1],
    "ridge_blocks": lambda fold, target: fold.ridge(
        np.hstack([z / np.sqrt(z.shape[1]) for z in fold.others(target).values()]), target
    )[1],
    "stack": stack,
    "stack_lineage": lambda fold, target: stack(fold, target, tissue=True),
    "pls": pls,
}
FITTED = {"mofa": (fit_mofa, mofa), "move": (fit_move, move)}
METHODS = [*SIMPLE, "elastic_net", *FITTED, "ours", "ours_nocov"]


def r2(fold: Fold, target: str, predicted: np.ndarray) -> np.ndarray:
    """R² of every feature on the test lines."""
    y = fold.z[target][fold.test]
    return 1 - np.square(y - predicted).sum(axis=0) / np.square(y).sum(axis=0)


def run_ours(
    mdata: md.MuData, folds: list[Fold], name: str, directory: Path, wanted: list[int]
) -> list[dict[str, Any]]:
    """Cross-validate one variant, and score its models feature by feature."""
    setup, settings = OURS[name]
    names = mdata.obs_names
    # folds that are not asked for are not fitted
    pairs = [(folds[k].train, folds[k].test) for k in wanted]
    started = time.process_time()
    wi.tl.cross_validate(
        mdata,
        cv=pairs,
        setup_kwargs={**SETUP, **setup},
        model_kwargs=settings,
        train_kwargs={"accelerator": "cpu"},
        directory=directory / name,
        progress=False,
        key_added=name,
    )
    seconds = (time.process_time() - started) / len(wanted)
    cases = {name: {}}
    if name == "ours":
        everything = ["drivers", *SETUP["others"], *TARGETS]
        cases |= {
            "ours: latent path": {"path": "latent"},
            "ours: evidence": {"path": "evidence"},
            "ours: from drivers": {"given": ["drivers"]},
            "ours: reconstruction": {"given": everything},
            "ours: reconstruction, latent path": {"given": everything, "path": "latent"},
        }
    rows = []
    for k, model in zip(wanted, wi.model.load_folds(directory / name, mdata, accelerator="cpu"), strict=True):
        fold = folds[k]
        for target in TARGETS:
            y = mdata[target].to_df().loc[names].to_numpy(dtype=float)
            center, sd = np.nanmean(y[fold.train], axis=0), np.nanstd(y[fold.train], axis=0)
            for case, arguments in cases.items():
                frame = model.predict(target, indices=fold.test, **arguments).to_numpy()
                scores = r2(fold, target, (frame - center) / np.where(sd > 1e-6, sd, 1.0))
                rows += as_rows(case, k, target, scores, seconds if case == name else np.nan)
    summary = mdata.uns[name]["summary"]
    print(f"\n{name}, as tl.cross_validate reports it:\n")
    of_model = summary[summary["method"] == "MultiOmicLPM"].drop(columns="method")
    print(of_model.to_markdown(index=False, floatfmt=".3f"), flush=True)
    return rows


def as_rows(method: str, fold: int, layer: str, scores: np.ndarray, seconds: float) -> list[dict[str, Any]]:
    """One row per feature."""
    return [
        {"method": method, "fold": fold, "layer": layer, "feature": j, "r2": float(score), "seconds": seconds}
        for j, score in enumerate(scores)
    ]


def run_baseline(name: str, folds: list[Fold], wanted: list[int], n_elastic: int) -> list[dict[str, Any]]:
    """One baseline on all layers of some folds."""
    rows = []
    for k in wanted:
        fold, started = folds[k], time.process_time()
        if name in FITTED:
            fit, predict = FITTED[name]
            fitted = fit(fold)
            scores = {target: r2(fold, target, predict(fold, target, fitted)) for target in TARGETS}
        elif name == "elastic_net":
            scores = {target: r2(fold, target, elastic_net(fold, target, n_elastic)) for target in TARGETS}
        else:
            scores = {target: r2(fold, target, SIMPLE[name](fold, target)) for target in TARGETS}
        seconds = time.process_time() - started
        for target in TARGETS:
            rows += as_rows(name, k, target, scores[target], seconds)
    return rows


def show(title: str, table: pd.DataFrame) -> None:
    """Mean and standard deviation over folds of the mean over features."""
    scores = table.groupby(["method", "layer", "fold"], sort=False)["r2"].mean()
    grouped = scores.groupby(["method", "layer"], sort=False)
    text = (grouped.mean().map("{:.3f}".format) + " ± " + grouped.std().map("{:.3f}".format)).unstack()[list(TARGETS)]
    text["CPU s per fold"] = table.groupby("method", sort=False)["seconds"].mean().round(1)
    print(f"\n## {title}\n\n{text.loc[table['method'].unique()].to_markdown()}", flush=True)


def compare(scheme: str, arguments: argparse.Namespace, directory: Path) -> None:
    """All methods on the folds of one scheme."""
    mdata = read_ccle(arguments.data)
    if scheme == "random":
        splitter: Any = KFold(5, shuffle=True, random_state=42)
    else:
        splitter = GroupKFold(5)
    split = splitter.split(mdata.obs_names, groups=mdata.obs["lineage"].astype(str))
    folds = [Fold(mdata, train, test) for train, test in split]
    table = pd.DataFrame(columns=["scheme", "method", "fold", "layer", "feature", "r2", "seconds"])
    if arguments.out is not None and arguments.out.exists():
        table = pd.read_csv(arguments.out)
    for name in arguments.methods + (list(ABLATIONS) if arguments.ablations else []):
        done = set(table.loc[(table["scheme"] == scheme) & (table["method"] == name), "fold"])
        missing = [k for k in arguments.folds if k not in done]
        try:
            for part in [missing] if name in OURS else [[k] for k in missing]:
                if not part:
                    continue
                if name in OURS:
                    rows = run_ours(mdata, folds, name, directory / scheme, part)
                else:
                    rows = run_baseline(name, folds, part, arguments.n_elastic)
                found = pd.DataFrame(rows).assign(scheme=scheme)
                table = found if table.empty else pd.concat([table, found], ignore_index=True)
                if arguments.out is not None:
                    table.to_csv(arguments.out, index=False)
        except ImportError as error:
            print(f"\n{name}: skipped, {error}")
            continue
        print(f"{scheme}: {name} done", flush=True)
    table = table[(table["scheme"] == scheme) & table["fold"].isin(arguments.folds)]
    title = f"CCLE, {mdata.n_obs} lines, {scheme} folds {arguments.folds}, R² of hidden layers (mean ± sd over folds)"
    show(title, table[table["method"] != "elastic_net"])
    if "elastic_net" in set(table["method"]):
        chosen = {name: set(some(mdata[name].n_vars, arguments.n_elastic)) for name in TARGETS}
        same = [feature in chosen[layer] for layer, feature in zip(table["layer"], table["feature"], strict=True)]
        show(f"{title}, {arguments.n_elastic} features per layer", table[same])


def growth() -> None:
    """CPU seconds of 20 epochs and of the regressions, against numbers of samples and features."""
    rows = []
    for n_obs, factor in [(100, 1), (200, 1), (400, 1), (800, 1), (1600, 1), (400, 2), (400, 4), (400, 8)]:
        mdata = wi.datasets.simulate_flow(
            n_obs,
            n_rna=150 * factor,
            n_protein=100 * factor,
            n_ptm=(10, 40 * factor, 60 * factor),
            n_metabolites=40 * factor,
        )
        ptm = ["ptm_0", "ptm_1", "ptm_2"]
        wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", protein="protein", ptm=ptm, metabolome="metabolome")
        row: dict[str, Any] = {"samples": n_obs, "features": sum(mdata[name].n_vars for name in mdata.mod)}
        for label, evidence in [("20 epochs", None), ("20 epochs + evidence", "full")]:
            model = wi.model.MultiOmicLPM(mdata, evidence=evidence)
            started = time.process_time()
            model.train(20, accelerator="cpu", enable_progress_bar=False)
            row[label] = time.process_time() - started
        rows.append(row)
        print(row, flush=True)
    print("\n## CPU seconds\n\n" + pd.DataFrame(rows).to_markdown(index=False, floatfmt=".1f"))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with ccle/ccle_lpm.h5mu")
    parser.add_argument("--scheme", nargs="+", choices=["random", "lineage"], default=["random", "lineage"])
    parser.add_argument("--folds", nargs="+", type=int, choices=range(5), default=list(range(5)))
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, *ABLATIONS], default=METHODS)
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--n-elastic", type=int, default=40)
    parser.add_argument("--directory", type=Path, help="keeps our models, so that a killed run goes on")
    parser.add_argument(
        "--out", type=Path, help="CSV with the R² of every feature; methods and folds in it are not run again"
    )
    parser.add_argument("--growth", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    if arguments.growth:
        growth()
    if arguments.data is None:
        if not arguments.growth:
            parser.error("--data is needed")
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.directory or Path(temporary)
        for scheme in arguments.scheme:
            compare(scheme, arguments, directory)


if __name__ == "__main__":
    main()
