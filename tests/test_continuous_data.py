"""Continuous data end to end: what the model does on real tables and spectra, beside what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA, FastICA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit, LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def named(x: np.ndarray, var: pd.DataFrame | None = None) -> ad.AnnData:
    return ad.AnnData(
        np.asarray(x, dtype=np.float32), obs=pd.DataFrame(index=[f"s{i}" for i in range(len(x))]), var=var
    )


def fit(adata: ad.AnnData, epochs: int, *, lr: float = 5e-3, **settings: object) -> wi.model.BetaLinearSCVI:
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, gene_likelihood="normal", seed=0, **settings)
    model.train(epochs, seed=0, train_size=1.0, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": lr})
    return model


@pytest.fixture(scope="module")
def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    data = load_breast_cancer()
    return StandardScaler().fit_transform(data.data), data.target


class TestBreastCancer:
    """Published with a β-VAE whose squared error is averaged over the 30 features: its β weighs 15 times as much."""

    @pytest.mark.parametrize(("published", "active"), [(4.0, 0), (0.5, 1)])
    def test_active_dimensions_are_those_of_the_spectrum(self, breast_cancer: tuple, published: float, active: int):
        x, benign = breast_cancer
        beta = published * x.shape[1] / 2
        assert (np.linalg.eigvalsh(np.cov(x.T)) > beta).sum() == active
        model = fit(named(x), 200, n_latent=4, beta=beta, dispersion="unit")
        z = model.get_latent_representation()
        assert (z.var(axis=0) > 0.01).sum() == active
        if active == 0:
            error = np.mean((model.decode(z).to_numpy() - x) ** 2)
            assert error == pytest.approx(1.0, abs=0.02)
        else:
            # the "diagnostic neuron" is the first principal component
            best = z[:, z.var(axis=0).argmax()]
            pc = PCA(1).fit_transform(x)[:, 0]
            assert abs(np.corrcoef(best, pc)[0, 1]) > 0.95
            auc, floor = (abs(roc_auc_score(benign, each) - 0.5) + 0.5 for each in (best, pc))
            assert auc == pytest.approx(floor, abs=0.015)


def test_two_factors_collapse_at_the_published_beta():
    adata = wi.datasets.simulate_two_factors()
    x, truth = np.asarray(adata.X), adata.obsm["true_factors"]
    model = fit(named(x), 60, n_latent=2, beta=4.0 * x.shape[1] / 2, dispersion="unit")
    z = model.get_latent_representation()
    assert (z.var(axis=0) < 0.01).all()
    # no dimension holds the batch, though it can be told apart
    assert np.abs(np.corrcoef(z.T, truth.T)[:2, 3]).max() < 0.9
    independent = FastICA(2, random_state=0).fit_transform(x)
    assert np.abs(np.corrcoef(independent.T, truth.T)[:2, 2:]).max(axis=0).min() > 0.99


def band_of(adata: ad.AnnData) -> np.ndarray:
    return adata.var["wavenumber"].between(3200, 3600).to_numpy()


@pytest.fixture(scope="module")
def spectra(shared_data: Path) -> ad.AnnData:
    """Absorbance with NaN outside the measured range."""
    data = np.load(shared_data / "rruff_ir" / "rruff_ir.npz")
    meta = pd.read_csv(shared_data / "rruff_ir" / "rruff_ir_meta.csv")
    var = pd.DataFrame({"wavenumber": data["wavenumber"]}, index=[f"{w:.0f}" for w in data["wavenumber"]])
    adata = named(data["absorbance"], var)
    adata.obs["mineral"] = meta["mineral"].to_numpy()
    adata.obs["water"] = np.where(meta["has_H2O"] == 1, "hydrated", "anhydrous")
    return adata


@pytest.fixture(scope="module")
def ready(spectra: ad.AnnData) -> ad.AnnData:
    """The range that most share, every third point, each spectrum with mean 1, square roots."""
    adata = spectra[:, (spectra.var["wavenumber"] >= 650) & (spectra.var["wavenumber"] <= 3700)]
    adata = adata[~np.isnan(adata.X).any(axis=1), ::3].copy()
    adata.X = adata.X - adata.X.min(axis=1, keepdims=True)
    adata.X = np.sqrt(adata.X / adata.X.mean(axis=1, keepdims=True))
    return adata


@pytest.fixture(scope="module")
def held_out(ready: ad.AnnData) -> np.ndarray:
    """Whole minerals, and the pair whose difference is the water."""
    _, test = next(GroupShuffleSplit(1, test_size=0.25, random_state=0).split(ready, groups=ready.obs["mineral"]))
    return np.isin(np.arange(ready.n_obs), test) | ready.obs["mineral"].isin(["Gypsum", "Anhydrite"]).to_numpy()


@pytest.fixture(scope="module")
def model(ready: ad.AnnData, held_out: np.ndarray) -> wi.model.BetaLinearSCVI:
    model = fit(ready[~held_out].copy(), 120, n_latent=20)
    model.rotate("varimax")
    return model


@pytest.fixture(scope="module")
def water(model: wi.model.BetaLinearSCVI, ready: ad.AnnData) -> int:
    """The dimension with the largest share of its loadings in the band; no label is used."""
    energy = model.get_loadings() ** 2
    share = energy[band_of(ready)].sum() / energy.sum()
    assert share.max() > 0.8
    return int(share.to_numpy().argmax())


class TestInfrared:
    """Is there a dimension for water, and does gypsum lose its band at the dry end?"""

    def test_missing_values_are_refused(self, spectra: ad.AnnData):
        wi.model.BetaLinearSCVI.setup_anndata(spectra)
        with pytest.raises(ValueError, match=r"NaN or infinite.*fill the values"):
            wi.model.BetaLinearSCVI(spectra, gene_likelihood="normal")

    def test_held_out_gypsum_loses_its_water_band(self, ready: ad.AnnData, model: wi.model.BetaLinearSCVI, water: int):
        band = band_of(ready)
        measured = {
            name: np.square(ready[ready.obs["mineral"] == name].X[:, band]).mean() for name in ("Gypsum", "Anhydrite")
        }
        assert measured["Gypsum"] > 3 * measured["Anhydrite"]
        code = model.get_latent_representation(ready[ready.obs["mineral"] == "Gypsum"].copy()).mean(axis=0)
        codes = np.tile(code, (2, 1))
        wi.tl.traverse(model.adata, model, water, quantiles=(0.05, 0.95))
        driest = model.adata.varm["traverse"][band].mean(axis=0).argmin()
        codes[1, water] = model.adata.uns["traverse"]["steps"]["value"].iloc[driest]
        before, dry = np.square(model.decode(codes).to_numpy().clip(min=0))[:, band].mean(axis=1)
        assert before > 0.7 * measured["Gypsum"]
        assert dry < before - 0.5 * (measured["Gypsum"] - measured["Anhydrite"])

    def test_the_band_moves_along_the_water_dimension(self, model: wi.model.BetaLinearSCVI, water: int):
        wi.tl.traverse(model.adata, model, water, n_top=20)
        result = model.adata.uns["traverse"]
        assert result["monotone_fraction"] == 1.0
        assert model.adata.var.loc[result["top"]["gene"], "wavenumber"].between(3100, 3700).all()

    def test_it_tells_water_but_not_better_than_one_wavenumber(
        self, ready: ad.AnnData, held_out: np.ndarray, model: wi.model.BetaLinearSCVI, water: int
    ):
        """The stretching band is also that of OH, and the label is about water alone."""
        wet = (ready.obs["water"] == "hydrated").to_numpy()
        z = model.get_latent_representation(ready[held_out].copy())[:, water]
        auc = abs(roc_auc_score(wet[held_out], z) - 0.5) + 0.5
        train = [abs(roc_auc_score(wet[~held_out], column) - 0.5) for column in ready.X[~held_out].T]
        best = ready.X[held_out][:, int(np.argmax(train))]
        floor = abs(roc_auc_score(wet[held_out], best) - 0.5) + 0.5
        assert 0.6 < auc < floor

    def test_difference_of_hydrated_and_anhydrous_minerals(self, model: wi.model.BetaLinearSCVI):
        adata = model.adata
        wi.tl.pseudo_profiles(adata, model, "water", contrast=("hydrated", "anhydrous"), n_samples=50)
        contrast = adata.uns["pseudo_profiles"]["contrast"]
        for low, high in ((3200, 3400), (1620, 1640)):
            inside = adata.var["wavenumber"].between(low, high)
            assert (contrast.loc[inside, "lower"] > 0).all()


class TestRaman:
    """Mixtures of three sugars with known fractions and known pure spectra."""

    @pytest.mark.parametrize("decoder", ["linear", "nonnegative"])
    def test_fractions_and_pure_spectra(self, shared_data: Path, decoder: str):
        data = np.load(shared_data / "raman_carbs" / "raman_carbs.npz")
        pure = data["S"].T
        model = fit(named(data["D"]), 400, lr=1e-2, n_latent=3, dropout_rate=0.0, decoder=decoder)
        z = model.get_latent_representation()
        predicted = cross_val_predict(LinearRegression(), z, data["C"], cv=LeaveOneOut())
        assert r2_score(data["C"], predicted) > 0.98
        loadings = model.get_loadings().to_numpy()
        basis = np.column_stack([loadings, model.decode(np.zeros(3)).to_numpy()[0]])
        span = (basis @ np.linalg.lstsq(basis, pure.T, rcond=None)[0]).T
        assert min(np.corrcoef(*pair)[0, 1] for pair in zip(span, pure, strict=True)) > 0.98
        if decoder == "nonnegative":
            # then single dimensions look like substances, which the free ones do not
            assert (loadings >= 0).all()
            single = np.abs(np.corrcoef(loadings.T, pure)[:3, 3:])
            assert single.max(axis=0).min() > 0.7
