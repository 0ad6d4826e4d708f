"""Does training an embedding beat not training it? Retrieval of known and of unseen identities beside all floors.

    python benchmarks/metric_learning.py [--data PATH] [--seeds 5] [--epochs 40] [--sets digits ecg_id …]
        [--splits open closed] [--methods supcon …] [--far-negative [--window 6]] [--quick] [--json FILE]

Sets: ``digits`` (900 images of scikit-learn), ``pbmc68k`` (cell types, bundled with scanpy), ``ecg_id`` (mean heart
beats of 90 persons, answers from another record only) and ``sc_mixology`` (five cell lines, answers from another
plate).
*Open* holds out half of the identities, *closed* 40 % of the rows of every identity (of ``ecg_id`` and ``sc_mixology``
too, so that rows of the same exam are on both sides). Everything is asked on the held-out rows among themselves.

Floors: the input itself (``raw``), 32 principal components fitted to the training rows (``pca``), and the network with
its weights as drawn (``untrained``, mean over 5 draws). Trained from scratch on the input: SupCon, triplets (semi-hard,
hard, full-hard) and Multi-Similarity, each with the epoch chosen on validation
identities (closed: on validation rows). ``head`` is the default of
``scwhatif.model.MetricEncoder``, a residual head that starts as its input, on ``pca`` and on ``raw``.

Numbers are means over seeds (of split, weights and batches). The last columns are the head less the best floor (by mean
mAP), with a 95 % t interval over seeds.

``--far-negative`` trains with a mistake instead: the *farthest* negative of a batch taken for the hardest. The loss
falls, the ratio of distances rises, retrieval falls, and the rules of ``scwhatif.tl.compare_runs`` say so.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from scipy import stats
from scipy.signal import find_peaks, resample
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import scwhatif as wi
from scwhatif.train._metric_plan import MetricTrainingPlan

N_LATENT = 32
N_DRAWS = 5
SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
MARGIN = 0.2
SCRATCH: dict[str, dict[str, Any]] = {
    "supcon": {"loss": "supcon"},
    "semihard": {"loss": "triplet", "mining": "semihard", "margin": MARGIN},
    "hard": {"loss": "triplet", "mining": "hard", "margin": MARGIN},
    "full-hard": {"loss": "triplet", "mining": "full-hard", "margin": MARGIN},
    "multi_similarity": {"loss": "multi_similarity"},
}
FLOORS = ("raw", "pca", "untrained")
HEADS = {"head(pca)": "pca", "head(raw)": "raw"}


class Data(NamedTuple):
    """Rows to find again."""

    x: np.ndarray
    identity: np.ndarray
    exam: np.ndarray | None


def digits(_: Path) -> Data:
    """Images of digits."""
    x, y = load_digits(return_X_y=True)
    return Data(x[:900].astype(np.float32), y[:900], None)


def pbmc68k(_: Path) -> Data:
    """Cell types."""
    cells = sc.datasets.pbmc68k_reduced()
    x = StandardScaler().fit_transform(cells.raw.X.toarray())
    return Data(x.astype(np.float32), cells.obs["bulk_labels"].cat.codes.to_numpy(), None)


FILES = {"ecg_id": "ecg_id/ecg_id.npz", "sc_mixology": "sc_mixology/sc5cl_3plate.h5ad"}


def ecg_id(folder: Path) -> Data:
    """Mean beats, four to a record, each of a quarter of its beats."""
    stored = np.load(folder / FILES["ecg_id"], allow_pickle=False)
    rows, identity, exam = [], [], []
    for record, (signal, subject) in enumerate(zip(stored["signal"][:, 1], stored["subject"], strict=True)):
        signal = signal.astype(np.float64) - np.median(signal)
        peaks = find_peaks(np.abs(np.gradient(signal)), distance=250, prominence=np.abs(np.gradient(signal)).std())[0]
        beats = [signal[at - 125 : at + 225] for at in peaks if at >= 125 and at + 225 <= len(signal)]
        for part in np.array_split(np.array(beats), 4) if len(beats) >= 4 else []:
            beat = resample(part.mean(axis=0), 128)
            rows.append((beat - beat.mean()) / beat.std())
            identity.append(int(subject))
            exam.append(record)
    return Data(np.array(rows, dtype=np.float32), np.array(identity), np.array(exam))


def sc_mixology(folder: Path) -> Data:
    """Five cell lines on three plates."""
    cells = ad.read_h5ad(folder / FILES["sc_mixology"])
    cells = cells[cells.obs["demuxlet_cls"] != "DBL"].copy()
    sc.pp.normalize_total(cells)
    sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(cells, n_top_genes=1000, subset=True)
    x = cells.X.toarray() if hasattr(cells.X, "toarray") else np.asarray(cells.X)
    line = pd.factorize(cells.obs["cell_line_demuxlet"].astype(str))[0]
    return Data(x.astype(np.float32), line, pd.factorize(cells.obs["dataset"])[0])


SETS = {"digits": digits, "pbmc68k": pbmc68k, "ecg_id": ecg_id, "sc_mixology": sc_mixology}


def split(data: Data, how: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and rows to be asked about."""
    rng = np.random.default_rng(seed)
    if how == "open":
        known = np.unique(data.identity)
        held_out = rng.permutation(known)[: len(known) // 2]
        test = np.isin(data.identity, held_out)
    else:
        test = np.zeros(len(data.identity), dtype=bool)
        for each in np.unique(data.identity):
            rows = rng.permutation(np.flatnonzero(data.identity == each))
            test[rows[: round(0.4 * len(rows))]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def as_adata(data: Data, train: np.ndarray, seed: int) -> ad.AnnData:
    """All rows with input and principal components; these are fitted to the training rows."""
    n_components = min(N_LATENT, data.x.shape[1], len(train) - 1)
    pca = PCA(n_components, random_state=seed).fit(data.x[train])
    obs = pd.DataFrame({"identity": data.identity.astype(str)}, index=np.arange(len(data.x)).astype(str))
    if data.exam is not None:
        obs["exam"] = data.exam.astype(str)
    obsm = {"raw": data.x, "pca": pca.transform(data.x).astype(np.float32)}
    return ad.AnnData(np.zeros((len(obs), 1), np.float32), obs=obs, obsm=obsm)


def make(cells: ad.AnnData, obsm_key: str, encoder: str, seed: int, model_class: Any = None) -> Any:
    """A model that has not been trained."""
    model_class = model_class or wi.model.MetricEncoder
    exam_key = "exam" if "exam" in cells.obs else None
    model_class.setup_anndata(cells, identity_key="identity", exam_key=exam_key, obsm_key=obsm_key)
    return model_class(cells, encoder=encoder, seed=seed)


def embed(
    name: str, cells: ad.AnnData, train: np.ndarray, epochs: int, seed: int, **changes: Any
) -> list[tuple[np.ndarray, Any]]:
    """Codes of all rows, and the model they are from."""
    if name in ("raw", "pca"):
        return [(cells.obsm[name], None)]
    if name == "untrained":
        models = [make(cells, "raw", "mlp", 100 * seed + draw) for draw in range(N_DRAWS)]
        for model in models:
            model.is_trained_ = True
            model.module.eval()
        return [(model.get_latent_representation(cells), None) for model in models]
    learnt = cells[train].copy()
    if name in HEADS:
        model, settings = make(learnt, HEADS[name], "residual", seed), {}
    else:
        model, settings = make(learnt, "raw", "mlp", seed), SCRATCH[name]
    # early stopping prints
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        model.train(epochs, seed=seed, **{**settings, **changes}, **SILENT)
    return [(model.get_latent_representation(cells), model)]


def ask(z: np.ndarray, data: Data, test: np.ndarray) -> dict[str, float]:
    """Retrieval and health of the held-out rows among themselves."""
    exam = None if data.exam is None else data.exam[test]
    found = wi.metrics.retrieval_scores(z[test], data.identity[test], exam=exam, ks=(1,))
    found = found[found["rank"].notna()]
    health = wi.metrics.embedding_indicators(z[test])
    return {
        "rank_1": found["rank@1"].mean(),
        "map": found["ap"].mean(),
        "auc": found["auc"].mean(),
        "chance_1": found["chance_rank@1"].mean(),
        "erank": health["erank_ratio"],
        "R": health["resultant_length"],
    }


def compare(arguments: argparse.Namespace) -> pd.DataFrame:
    """All methods on all sets."""
    rows = []
    for name in arguments.sets:
        data = SETS[name](arguments.data)
        for how in arguments.splits:
            began = time.process_time()
            for seed in range(arguments.seeds):
                train, test = split(data, how, seed)
                cells = as_adata(data, train, seed)
                for method in arguments.methods:
                    # known identities are judged by rows of known identities
                    settings = {"split_by": "row"} if how == "closed" else {}
                    for z, model in embed(method, cells, train, arguments.epochs, seed, **settings):
                        row = {"set": name, "split": how, "seed": seed, "method": method, **ask(z, data, test)}
                        row["best_epoch"] = np.nan if model is None else model.best_epoch_
                        rows.append(row)
            table = pd.DataFrame(rows)
            part = table[(table["set"] == name) & (table["split"] == how)]
            show(part, name, how, len(data.identity), time.process_time() - began)
    return pd.DataFrame(rows)


def interval(differences: np.ndarray) -> str:
    """Mean and 95 % t interval."""
    mean = differences.mean()
    if len(differences) < 2:
        return f"{mean:+.3f}"
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def show(part: pd.DataFrame, name: str, how: str, n_rows: int, seconds: float) -> None:
    """One table."""
    numbers = ["rank_1", "map", "auc", "erank", "R", "best_epoch"]
    by_seed = part.groupby(["method", "seed"], sort=False)[[*numbers, "chance_1"]].mean()
    mean = by_seed.groupby("method", sort=False).mean()
    floors = [each for each in FLOORS if each in mean.index]
    best = mean.loc[floors, "map"].idxmax() if floors else None
    chance = mean["chance_1"].iloc[0]
    print(
        f"\n### {name}, {how}: {n_rows} rows, chance Rank@1 {chance:.2f}, {part['seed'].nunique()} seeds, "
        f"{seconds:.0f} CPU-s, best floor {best}\n"
    )
    print("| method | Rank@1 | mAP | AUC | erank / max | R | best epoch | mAP − best floor | Rank@1 − best floor |")
    print("|---|---|---|---|---|---|---|---|---|")
    for method, row in mean.iterrows():
        cells = [f"{row[each]:.3f}" for each in numbers[:3]] + [f"{row[each]:.2f}" for each in numbers[3:5]]
        cells.append("" if np.isnan(row["best_epoch"]) else f"{row['best_epoch']:.0f}")
        for score in ("map", "rank_1"):
            other = "" if best is None else mean.loc[floors, score].idxmax()
            less = (by_seed.loc[method, score] - by_seed.loc[other, score]).to_numpy() if other else None
            cells.append("" if less is None or method in floors else interval(less))
        mark = " (best floor)" if method == best else ""
        print(f"| {method}{mark} | " + " | ".join(cells) + " |", flush=True)


class FarNegativePlan(MetricTrainingPlan):
    """The mistake: of the negatives of a batch the farthest, as if it were the hardest."""

    def _chosen(self, z: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        hard = super()._chosen(z, batch)
        unit = torch.nn.functional.normalize(z.detach(), dim=1)
        identity = batch["identity"]
        distance = torch.cdist(unit, unit).masked_fill(identity[:, None] == identity[None], -torch.inf)
        return hard[0], hard[1], distance[hard[0]].argmax(dim=1)


class FarNegative(wi.model.MetricEncoder):
    """A model that is trained with the mistake."""

    _training_plan_cls = FarNegativePlan


def far_negative(arguments: argparse.Namespace) -> None:
    """One run with the mistake and one without, on unseen identities."""
    for name in arguments.sets:
        data = SETS[name](arguments.data)
        train, _ = split(data, "open", 0)
        cells = as_adata(data, train, 0)
        learnt, models = cells[train].copy(), {}
        for label, model_class in {"nearest": wi.model.MetricEncoder, "farthest": FarNegative}.items():
            model = make(learnt, "raw", "mlp", 0, model_class)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.train(
                    arguments.epochs,
                    loss="contrastive",
                    mining="hard",
                    margin=0.5,
                    seed=0,
                    early_stopping=False,
                    **SILENT,
                )
            models[label] = model
        wi.tl.compare_runs(learnt, {label: model.table_ for label, model in models.items()}, window=arguments.window)
        found = learnt.uns["compare_runs"]
        epochs = found["epochs"]
        shown = [0, 1, 5, 10, 20, 30, 40]
        columns = [
            "run",
            "epoch",
            "loss",
            "batch_intra",
            "batch_inter",
            "active_pairs",
            "ratio",
            "rank_1",
            "map",
            "auc",
        ]
        print(f"\n### {name}: the farthest negative taken for the hardest (validation identities)\n")
        rows = epochs.loc[epochs["epoch"].isin(shown), columns]
        print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
        for row in rows.itertuples(index=False):
            print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) + " |")
        print("\nWhat the rules said, and in which epochs:\n")
        for row in found["messages"].itertuples():
            print(f"- {row.run}: {row.message} (epochs {row.first} to {row.last})")
        print(found["summary"][["run", "best_epoch", "start", "best", "last", "advice"]].to_string(index=False))


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--splits", nargs="+", choices=["open", "closed"], default=["open", "closed"])
    methods = [*FLOORS, *SCRATCH, *HEADS]
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--far-negative", action="store_true", help="train with the farthest negative instead")
    parser.add_argument("--window", type=int, default=6, help="epochs of a trend, with --far-negative")
    parser.add_argument("--quick", action="store_true", help="two seeds, digits and pbmc68k, five epochs")
    parser.add_argument("--json", type=Path, help="where to keep all numbers")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds, arguments.epochs, arguments.sets = 2, 5, ["digits", "pbmc68k"]
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    absent = [name for name, file in FILES.items() if name in arguments.sets and not (arguments.data / file).is_file()]
    for name in absent:
        print(f"{name}: skipped, {FILES[name]} is not in --data")
    arguments.sets = [name for name in arguments.sets if name not in absent]
    if arguments.far_negative:
        far_negative(arguments)
        return
    table = compare(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(table.to_dict("records"), default=float))


if __name__ == "__main__":
    main()
