from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

TRAIN = {"accelerator": "cpu", "enable_progress_bar": False}


class Fixed:
    """A model of which nothing but its posterior is known."""

    def __init__(self, mean: np.ndarray, var: np.ndarray, **settings: Any):
        self.module = torch.nn.Linear(1, 1)
        for name, value in settings.items():
            setattr(self.module, name, value)
        self.mean, self.var = mean, var
        self.is_trained_ = True
        self.history: dict[str, pd.DataFrame] | None = None

    def get_var_names(self) -> list[str]:
        return ["a", "b"]

    def get_latent_representation(self, adata: AnnData, *, return_dist: bool) -> tuple[np.ndarray, np.ndarray]:
        assert return_dist
        return self.mean, self.var


def cells(n: int) -> AnnData:
    return ad.AnnData(np.ones((n, 2), np.float32), var=pd.DataFrame(index=["a", "b"]))


def posterior(n_active: int, n_latent: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    mean = np.random.default_rng(0).normal(size=(n, n_latent))
    var = np.full(mean.shape, 0.2)
    mean[:, n_active:] *= 0.01
    var[:, n_active:] = 1.0
    return mean, var


def usage(*args: Any, **settings: Any) -> dict[str, Any]:
    adata = cells(300)
    wi.tl.latent_usage(adata, Fixed(*posterior(*args), **settings))
    return adata.uns["latent_usage"]


BETA = {"beta": 4.0, "objective": "kl", "free_bits": 0.0}


@pytest.fixture(scope="module")
def breast() -> AnnData:
    data = load_breast_cancer()
    adata = ad.AnnData(StandardScaler().fit_transform(data.data).astype(np.float32))
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    return adata


def fitted(adata: AnnData, beta: float, **kwargs: Any) -> wi.model.BetaLinearSCVI:
    model = wi.model.BetaLinearSCVI(
        adata, n_latent=4, n_hidden=16, gene_likelihood="normal", dispersion="unit", beta=beta, seed=0
    )
    model.train(max_epochs=30, train_size=1.0, seed=0, **TRAIN, **kwargs)
    return model


@pytest.fixture(scope="module")
def healthy(breast: AnnData) -> tuple[AnnData, wi.model.BetaLinearSCVI]:
    model = fitted(breast, 0.5)
    return wi.tl.latent_usage(breast, model, copy=True), model


def test_low_beta_is_healthy(healthy: tuple[AnnData, wi.model.BetaLinearSCVI], breast: AnnData):
    adata, model = healthy
    assert "latent_usage" not in breast.uns
    result = adata.uns["latent_usage"]
    assert result["verdict"] == "healthy"
    assert result["summary"]["n_active"] == 4
    mean, var = model.get_latent_representation(return_dist=True)
    kl = 0.5 * (mean**2 + var - 1 - np.log(var))
    np.testing.assert_allclose(result["table"]["kl"], kl.mean(axis=0), rtol=1e-4)
    assert result["summary"]["kl"] == pytest.approx(kl.sum(axis=1).mean(), rel=1e-4)
    np.testing.assert_allclose(result["table"]["variance"], mean.var(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(result["table"]["explained_share"], model.get_explained_share())
    correlation = np.abs(np.corrcoef(mean.T) - np.eye(4))
    assert result["summary"]["max_correlation"] == pytest.approx(correlation.max(), rel=1e-4)


def test_high_beta_has_collapsed_though_a_dimension_separates(breast: AnnData):
    """β = 60 is what the published β = 4 amounts to. Rescaled, a dead dimension still tells malignant from benign."""
    model = fitted(breast, 60.0)
    with pytest.warns(UserWarning, match=r"collapsed totally.*lower beta \(now 60"):
        wi.tl.latent_usage(breast, model)
    result = breast.uns.pop("latent_usage")
    assert result["verdict"] == "total_collapse"
    assert result["summary"] | {"kl": 0.0} == {
        "n_latent": 4,
        "n_active": 0,
        "kl": 0.0,
        "max_correlation": 0.0,
        "total_correlation": 0.0,
    }
    auc = wi.metrics.one_vs_rest_auc(model.get_latent_representation(), load_breast_cancer().target)
    assert (0.5 + (auc - 0.5).abs()).max(axis=None) > 0.8


def test_history_is_that_of_training(healthy: tuple[AnnData, wi.model.BetaLinearSCVI]):
    adata, _ = healthy
    history = adata.uns["latent_usage"]["kl_history"]
    assert list(history.columns) == ["epoch", "stage", "kl", "kl_weight", "z0", "z1", "z2", "z3"]
    assert history["epoch"].tolist() == list(range(30))
    assert set(history["stage"]) == {"train"}
    np.testing.assert_allclose(history[["z0", "z1", "z2", "z3"]].sum(axis=1), history["kl"], rtol=1e-4)
    assert history["kl"].iloc[-1] == pytest.approx(adata.uns["latent_usage"]["summary"]["kl"], rel=0.2)
    assert history["kl_weight"].iloc[[0, -1]].tolist() == [0.0, 1.0]


def test_history_of_both_stages_and_without_epochs_that_were_not_validated():
    adata, model = cells(300), Fixed(*posterior(2, 2))
    model.history = {
        "kl_local_train": pd.DataFrame({"kl_local_train": [3.0, 2.0]}),
        "kl_local_validation": pd.DataFrame({"kl_local_validation": [np.nan, 2.5]}),
        "kl_z0_train": pd.DataFrame({"kl_z0_train": [2.0, 1.5]}),
    }
    wi.tl.latent_usage(adata, model)
    history = adata.uns["latent_usage"]["kl_history"]
    assert history["stage"].tolist() == ["train", "train", "validation"]
    assert history["epoch"].tolist() == [0, 1, 1]
    assert history["kl"].tolist() == [3.0, 2.0, 2.5]
    assert history["z0"].tolist()[:2] == [2.0, 1.5]
    model.rotation_ = "varimax"
    wi.tl.latent_usage(adata, model)
    assert list(adata.uns["latent_usage"]["kl_history"].columns) == ["epoch", "stage", "kl"]


def test_two_of_six_is_partial():
    result = usage(2, 6, **BETA)
    assert result["verdict"] == "partial_collapse"
    assert result["table"]["active"].tolist() == [True, True, False, False, False, False]
    assert result["table"]["explained_share"].isna().all()
    assert result["advice"].startswith("2 of 6 dimensions are active. The posterior has collapsed partially.")
    assert "n_latent=3 gives the same" in result["advice"]
    assert "lower beta (now 4" in result["advice"]
    assert "kl_history" not in result


@pytest.mark.parametrize(
    ("settings", "said", "not_said"),
    [
        (BETA, "free_bits=0.5", "capacity"),
        (BETA | {"free_bits": 0.2}, "longer warm-up", "free_bits"),
        (BETA | {"beta": 0.0}, "longer warm-up", "lower beta"),
        ({"beta": 9.0, "objective": "capacity", "capacity": 3.0}, "raise capacity (now 3 nats)", "lower beta"),
        ({}, "max_kl_weight", "beta"),
    ],
)
def test_advice_fits_the_model(settings: dict[str, Any], said: str, not_said: str):
    advice = usage(1, 4, **settings)["advice"]
    assert said in advice
    assert not_said not in advice


def test_advice_for_what_is_healthy():
    assert usage(3, 4)["advice"] == "3 of 4 dimensions are active."
    assert usage(1, 2)["advice"] == "1 of 2 dimensions is active."
    assert "larger n_latent" in usage(4, 4)["advice"]


def test_advice_on_correlation_and_distance_from_the_prior():
    mean, var = posterior(3, 4)
    mean[:, 2] = -mean[:, 0] + 0.1 * mean[:, 2]
    adata = cells(300)
    wi.tl.latent_usage(adata, Fixed(mean, var))
    assert "z0 and z2 correlate at -0.99" in adata.uns["latent_usage"]["advice"]
    assert adata.uns["latent_usage"]["summary"]["max_correlation"] == pytest.approx(0.995, abs=0.004)
    assert adata.uns["latent_usage"]["summary"]["total_correlation"] > 2
    wi.tl.latent_usage(adata, Fixed(10 * posterior(3, 4)[0], var))
    assert "far from the prior" in adata.uns["latent_usage"]["advice"]


def test_one_dimension():
    result = usage(1, 1)
    assert (result["verdict"], result["summary"]["max_correlation"]) == ("healthy", 0.0)
    with pytest.warns(UserWarning, match="totally"):
        assert usage(0, 1)["verdict"] == "total_collapse"


@pytest.mark.parametrize("name", ["SCVI", "LinearSCVI", "SCANVI", "PEAKVI"])
def test_models_of_scvi_tools(name: str):
    adata = wi.datasets.simulate_factors(60, 20, 3, n_cell_types=2, n_batches=1)
    cls = getattr(scvi.model, name)
    cls.setup_anndata(adata, **({"labels_key": "cell_type", "unlabeled_category": "?"} if name == "SCANVI" else {}))
    model = cls(adata, n_latent=3)
    model.train(max_epochs=2, **TRAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        wi.tl.latent_usage(adata, model)
    result = adata.uns["latent_usage"]
    mean, var = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(result["table"]["kl"], (0.5 * (mean**2 + var - 1 - np.log(var))).mean(0), rtol=1e-4)
    assert result["params"]["model_class"] == name
    assert len(result["kl_history"]) >= 1


def test_mudata_is_written_to():
    mdata = mudata.MuData({"rna": cells(300)})
    wi.tl.latent_usage(mdata, Fixed(*posterior(2, 3)))
    assert mdata.uns["latent_usage"]["verdict"] == "healthy"


def test_minified_data_will_do():
    adata = wi.datasets.simulate_factors(60, 20, 3, n_cell_types=2, n_batches=1)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, beta=0.1, seed=0)
    model.train(max_epochs=40, batch_size=16, seed=0, **TRAIN)
    full = wi.tl.latent_usage(adata, model, copy=True).uns["latent_usage"]
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = model.get_latent_representation(return_dist=True)
    model.minify_adata()
    wi.tl.latent_usage(model.adata, model)
    pd.testing.assert_frame_equal(model.adata.uns["latent_usage"]["table"], full["table"], rtol=1e-4)


def test_survives_writing(healthy: tuple[AnnData, wi.model.BetaLinearSCVI], tmp_path: Path):
    adata = healthy[0]
    adata.write_h5ad(tmp_path / "x.h5ad")
    back, written = ad.read_h5ad(tmp_path / "x.h5ad").uns["latent_usage"], adata.uns["latent_usage"]
    for name in ("table", "kl_history"):
        assert back[name].astype(written[name].dtypes).equals(written[name])
    assert (back["verdict"], back["advice"]) == (written["verdict"], written["advice"])
    assert {name: float(value) for name, value in back["summary"].items()} == written["summary"]


def test_repeats(healthy: tuple[AnnData, wi.model.BetaLinearSCVI], breast: AnnData):
    again = wi.tl.latent_usage(breast, healthy[1], key_added="mine", copy=True).uns["mine"]
    pd.testing.assert_frame_equal(again["table"], healthy[0].uns["latent_usage"]["table"])


def test_bad_input(healthy: tuple[AnnData, wi.model.BetaLinearSCVI], breast: AnnData):
    with pytest.raises(ValueError, match="lacks 5 of the 30 features"):
        wi.tl.latent_usage(breast[:, 5:].copy(), healthy[1])
    with pytest.raises(ValueError, match="not been trained"):
        wi.tl.latent_usage(breast, wi.model.BetaLinearSCVI(breast, gene_likelihood="normal"))
    with pytest.raises(ValueError, match="latent_distribution='normal'"):
        wi.tl.latent_usage(cells(300), Fixed(*posterior(1, 2), latent_distribution="ln"))
    with pytest.raises(TypeError, match=r"Linear does not give.*return_dist"):
        wi.tl.latent_usage(cells(300), torch.nn.Linear(1, 1))
    mean, var = posterior(1, 2)
    mean[3, 1] = np.nan
    with pytest.raises(ValueError, match="diverged"):
        wi.tl.latent_usage(cells(300), Fixed(mean, var))
