"""BetaLinearSCVI on continuous data: what comes out over seeds, beside what needs no model.

    python benchmarks/continuous_data.py [--data PATH] [--seeds 5] [--only breast two_factors infrared raman]

``breast``: 569 tumours × 30 features (scikit-learn), at the β of a published β-VAE whose squared error is averaged
over the D features, so that its β weighs like β·D/2 here, where likelihoods are summed. Active dimensions, the number
of principal components with more variance than the effective β (a linear β-VAE keeps these), and the AUC of the best
dimension for benign against malignant beside that of the first principal component.
``two_factors``: 1000 cells × 50 genes of a binary condition and a continuous batch, at the published β and at others:
does one dimension hold the batch alone (|r| ≥ .95 with the batch, ≤ .1 with the condition), and one the condition?
``infrared``: minerals of PATH/rruff_ir, whole minerals held out, gypsum and anhydrite always. The water dimension is
chosen once by the label of the training minerals, once without labels, as the one with the largest share of its
loadings at 3200–3600 cm⁻¹. AUC on held-out minerals; then gypsum is encoded, set to the dry end (5 % quantile of the
training spectra), decoded, and the mean absorbance of the band compared.
``raman``: 21 mixtures of three sugars of PATH/raman_carbs, all of which the model is trained on. R² of the fractions,
predicted linearly from three latent dimensions, each mixture left out of the regression; correlation of the pure
spectra with their best fit by loadings and bias, of each with one loading of its own, and of what is decoded at the
code of the pure substance, as a regression of the codes on the fractions of the 18 mixtures tells it.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import NMF, PCA, FastICA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit, LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

import scwhatif as wi

ACTIVE = 0.01
BAND = (3200, 3600)


def fit(x: np.ndarray, seed: int, *, epochs: int, lr: float, batch_size: int = 128, **settings: object) -> object:
    """Train on all rows."""
    adata = ad.AnnData(np.asarray(x, dtype=np.float32), obs=pd.DataFrame(index=[str(i) for i in range(len(x))]))
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, gene_likelihood="normal", seed=seed, **settings)
    model.train(
        epochs,
        seed=seed,
        train_size=1.0,
        batch_size=batch_size,
        accelerator="cpu",
        enable_progress_bar=False,
        plan_kwargs={"lr": lr},
    )
    return model


def encode(model: object, x: np.ndarray) -> np.ndarray:
    """Posterior means of rows, in the trained data or not."""
    obs = pd.DataFrame(index=[str(i) for i in range(len(x))])
    adata = ad.AnnData(np.asarray(x, dtype=np.float32), obs=obs, var=model.adata.var[[]])
    return model.get_latent_representation(adata).astype(np.float64)


def aucs(labels: np.ndarray, z: np.ndarray) -> np.ndarray:
    """AUC of every column."""
    return np.array([roc_auc_score(labels, column) for column in z.T])


def two_sided(auc: np.ndarray) -> np.ndarray:
    """Whichever end the positives lie at."""
    return np.maximum(auc, 1 - auc)


def mean_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Average correlation of rows with rows."""
    return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(a, b, strict=True)]))


def show(title: str, rows: list[dict[str, object]], by: str) -> None:
    """Print mean ± sd over seeds, or the values themselves where they are counts."""
    table = pd.DataFrame(rows)
    print(f"\n{title}\n")
    lines = []
    for name, part in table.groupby(by, sort=False):
        line: dict[str, object] = {by: name}
        for column in part.columns.drop(by):
            each = part[column]
            if each.dtype.kind in "iub":
                line[column] = " ".join(str(int(value)) for value in each)
            elif len(each) == 1 or each.std() < 5e-4:
                line[column] = f"{each.mean():.3f}"
            else:
                line[column] = f"{each.mean():.3f} ± {each.std():.3f}"
        lines.append(line)
    print(pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True), flush=True)


def breast(n_seeds: int, _: Path) -> None:
    """Breast-cancer table at the published β and, last, at the evidence lower bound."""
    data = load_breast_cancer()
    x = StandardScaler().fit_transform(data.data)
    pca = PCA().fit(x)
    floor = two_sided(aucs(data.target, pca.transform(x)[:, :1]))[0]
    rows = []
    for beta in (4.0, 1.0, 0.5, 0.1, 2 / x.shape[1]):
        effective = beta * x.shape[1] / 2
        for seed in range(n_seeds):
            model = fit(x, seed, epochs=200, lr=5e-3, n_latent=4, beta=effective, dispersion="unit")
            z = encode(model, x)
            rows.append(
                {
                    "published β": f"{beta:.3g} (effective {effective:.3g})",
                    "predicted active": int((pca.explained_variance_[:4] > effective).sum()),
                    "active": int((z.var(0) > ACTIVE).sum()),
                    "mean squared error": float(((model.decode(z).to_numpy() - x) ** 2).mean()),
                    "largest mean (absolute)": float(np.abs(z).max()),
                    "best AUC": two_sided(aucs(data.target, z)).max(),
                    "PC1 AUC": floor,
                }
            )
    show("Breast cancer, 569 × 30, four latent dimensions", rows, "published β")


def two_factors(n_seeds: int, _: Path) -> None:
    """The published synthetic set."""
    adata = wi.datasets.simulate_two_factors()
    x = np.asarray(adata.X)
    truth = adata.obsm["true_factors"]

    def score(name: str, z: np.ndarray) -> dict[str, object]:
        varied = z[:, z.std(0) > 0]
        r = np.abs(np.corrcoef(varied.T, truth.T)[: varied.shape[1], varied.shape[1] :])
        return {
            "codes": name,
            "active": int((z.var(0) > ACTIVE).sum()),
            "largest mean (absolute)": float(np.abs(z).max()),
            "best r, condition": r[:, 0].max(),
            "best r, batch": r[:, 1].max(),
            "one holds the condition alone": bool(np.any((r[:, 0] >= 0.95) & (r[:, 1] <= 0.1))),
            "one holds the batch alone": bool(np.any((r[:, 1] >= 0.95) & (r[:, 0] <= 0.1))),
        }

    rows = []
    for beta in (4.0, 0.5, 2 / x.shape[1]):
        for seed in range(n_seeds):
            model = fit(x, seed, epochs=150, lr=5e-3, n_latent=2, beta=beta * x.shape[1] / 2, dispersion="unit")
            name = f"published β {beta:.3g} (effective {beta * x.shape[1] / 2:.3g})"
            rows.append(score(name, encode(model, x)))
    # with a variance of its own for each gene, the noise is known to be small and the batch worth its nats
    for seed in range(n_seeds):
        model = fit(x, seed, epochs=150, lr=5e-3, n_latent=2, beta=1.0)
        rows.append(score("β 1, variance per gene", encode(model, x)))
        for method in ("varimax", "ica"):
            model.rotate(method)
            rows.append(score(f"β 1, variance per gene, {method} of the loadings", encode(model, x)))
    rows.append(score("PCA", PCA(2).fit_transform(x)))
    rows += [score("FastICA", FastICA(2, random_state=seed).fit_transform(x)) for seed in range(n_seeds)]
    show("Two factors, 1000 × 50, two latent dimensions (1 = yes, per seed)", rows, "codes")


def read_infrared(folder: Path) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Square roots of spectra of unit mean over the range that all of them share, in steps of 12 cm⁻¹."""
    data = np.load(folder / "rruff_ir" / "rruff_ir.npz")
    meta = pd.read_csv(folder / "rruff_ir" / "rruff_ir_meta.csv")
    inside = (data["wavenumber"] >= 650) & (data["wavenumber"] <= 3700)
    x, wavenumber = data["absorbance"].astype(np.float32)[:, inside], data["wavenumber"][inside]
    # NaN is what was not measured; an absorbance of 100 is a failed reading, so spectra are scaled one by one
    measured = ~np.isnan(x).any(axis=1)
    n = x.shape[1] // 3
    x = x[measured, : 3 * n].reshape(-1, n, 3).mean(axis=2)
    x -= x.min(axis=1, keepdims=True)
    x /= x.mean(axis=1, keepdims=True)
    return np.sqrt(x), wavenumber[: 3 * n].reshape(n, 3).mean(axis=1), meta[measured].reset_index(drop=True)


def infrared(n_seeds: int, folder: Path) -> None:
    """Whether there is a dimension for water, and gypsum loses its band at the dry end."""
    x, wavenumber, meta = read_infrared(folder)
    band = (wavenumber >= BAND[0]) & (wavenumber <= BAND[1])
    wet = meta["has_H2O"].to_numpy()
    mineral = meta["mineral"].to_numpy()
    pair = np.isin(mineral, ["Gypsum", "Anhydrite"])
    gypsum = x[mineral == "Gypsum"]

    def absorbance(profiles: np.ndarray) -> float:
        """Mean of the band, the mean of the whole spectrum being 1."""
        return float(np.square(np.clip(profiles, 0, None))[:, band].mean())

    print(f"\nMeasured band: gypsum {absorbance(gypsum):.2f}, anhydrite {absorbance(x[mineral == 'Anhydrite']):.2f}")
    rows, floors = [], []
    for seed in range(n_seeds):
        train, test = next(GroupShuffleSplit(1, test_size=0.25, random_state=seed).split(x, groups=mineral))
        train, test = train[~pair[train]], np.union1d(test, np.flatnonzero(pair))

        def chosen_on_training(z: np.ndarray, train: np.ndarray = train, test: np.ndarray = test) -> float:
            auc = aucs(wet[train], z[train])
            best = int(two_sided(auc).argmax())
            held_out = roc_auc_score(wet[test], z[test][:, best])
            return held_out if auc[best] > 0.5 else 1 - held_out

        floors += [
            {"floor": "mean of the band", "AUC held out": roc_auc_score(wet[test], x[test][:, band].mean(1))},
            {"floor": "best wavenumber", "AUC held out": chosen_on_training(x)},
            {"floor": "best of 20 PCs", "AUC held out": chosen_on_training(PCA(20).fit(x[train]).transform(x))},
        ]
        for name, settings, rotation in [
            ("β 1", {"beta": 1.0}, None),
            ("β 1, varimax", {"beta": 1.0}, "varimax"),
            ("β 4", {"beta": 4.0}, None),
            ("β 4, varimax", {"beta": 4.0}, "varimax"),
            ("β 1, non-negative", {"beta": 1.0, "decoder": "nonnegative"}, None),
        ]:
            if rotation is None:
                model = fit(x[train], seed, epochs=150, lr=5e-3, n_latent=20, **settings)
            else:
                model.rotate(rotation)
            z, code = encode(model, x), encode(model, gypsum)
            loadings = model.get_loadings().to_numpy()
            share = (loadings[band] ** 2).sum(0) / (loadings**2).sum(0)
            # dead dimensions have shares too
            share[z[train].var(0) < ACTIVE] = 0
            train_auc = aucs(wet[train], z[train])
            for rule, dim in (("label", int(two_sided(train_auc).argmax())), ("loadings", int(share.argmax()))):
                sign = 1 if train_auc[dim] > 0.5 else -1
                dry = code.copy()
                # the wet end is where the loadings raise the band
                up = np.sign(loadings[band, dim].sum())
                dry[:, dim] = np.quantile(z[train, dim], 0.05 if up > 0 else 0.95)
                held_out = roc_auc_score(wet[test], sign * z[test, dim])
                rows.append(
                    {
                        "model, dimension chosen by": f"{name}, {rule}",
                        "AUC held out": held_out,
                        "share of loadings in the band": share[dim],
                        "gypsum decoded": absorbance(model.decode(code).to_numpy()),
                        "at the dry end": absorbance(model.decode(dry).to_numpy()),
                    }
                )
    show(f"Infrared, {len(x)} minerals × {x.shape[1]}, 20 latent dimensions: floors", floors, "floor")
    show("Infrared: the water dimension", rows, "model, dimension chosen by")


def raman(n_seeds: int, folder: Path) -> None:
    """Whether the three fractions and the three pure spectra are found."""
    data = np.load(folder / "raman_carbs" / "raman_carbs.npz")
    x, fractions, pure = data["D"], data["C"], data["S"]
    mixed = fractions.max(axis=1) < 1

    def score(name: str, z: np.ndarray, loadings: np.ndarray, bias: np.ndarray) -> dict[str, object]:
        predicted = cross_val_predict(LinearRegression(), z, fractions, cv=LeaveOneOut())
        basis = np.column_stack([loadings, bias])
        fitted = basis @ np.linalg.lstsq(basis, pure, rcond=None)[0]
        single = np.abs(np.corrcoef(loadings.T, pure.T)[:3, 3:])
        # fractions add up to one, so two of them say it all
        codes = LinearRegression().fit(fractions[mixed, :2], z[mixed]).predict(np.eye(3)[:, :2])
        decoded = codes @ loadings.T + bias
        return {
            "model": name,
            "R² of fractions, left out": r2_score(fractions, predicted),
            "r, span of loadings and bias": mean_correlation(fitted.T, pure.T),
            "r, one loading each (mean)": single[linear_sum_assignment(-single)].mean(),
            "r, decoded pure substance": mean_correlation(decoded, pure.T),
        }

    rows = []
    for seed in range(n_seeds):
        for name, settings in [
            ("β 1", {}),
            ("β 4", {"beta": 4.0}),
            ("β 1, non-negative", {"decoder": "nonnegative"}),
            ("β 4, non-negative", {"decoder": "nonnegative", "beta": 4.0}),
        ]:
            model = fit(x, seed, epochs=1000, lr=1e-2, batch_size=21, n_latent=3, dropout_rate=0.0, **settings)
            variants = [(name, None)] if "decoder" in settings else [(name, None), (f"{name}, varimax", "varimax")]
            for label, rotation in variants:
                if rotation:
                    model.rotate(rotation)
                bias = model.decode(np.zeros(3)).to_numpy()[0]
                rows.append(score(label, encode(model, x), model.get_loadings().to_numpy(), bias))
    pca = PCA(3).fit(x)
    rows.append(score("PCA", pca.transform(x), pca.components_.T, pca.mean_))
    nmf = NMF(3, init="nndsvda", max_iter=5000)
    z = nmf.fit_transform(x)
    rows.append(score("NMF", z, nmf.components_.T, np.zeros(x.shape[1])))
    show(f"Raman, {len(x)} mixtures × {x.shape[1]}, three latent dimensions", rows, "model")


PARTS = {"breast": breast, "two_factors": two_factors, "infrared": infrared, "raman": raman}
NEEDS_DATA = ("infrared", "raman")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with rruff_ir and raman_carbs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for name in arguments.only:
        if name in NEEDS_DATA and arguments.data is None:
            print(f"\n{name}: skipped, it needs --data")
            continue
        PARTS[name](arguments.seeds, arguments.data)


if __name__ == "__main__":
    main()
