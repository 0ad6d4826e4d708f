from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import joblib
import numpy as np
import pandas as pd
import pytest
import scvi
import torch

import scwhatif as wi
from scwhatif.tl import _fit_cache

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

SMALL: dict[str, Any] = {
    "model_kwargs": {"n_latent": 3, "n_hidden": 16, "gene_likelihood": "normal"},
    "train_kwargs": {"max_epochs": 15, "batch_size": 24, "accelerator": "cpu"},
    "progress": False,
}


def simulated() -> AnnData:
    return wi.datasets.simulate_factors(
        120, 20, 3, n_cell_types=3, n_batches=1, loading_scale=2.0, loading_density=0.5, likelihood="normal"
    )


@pytest.fixture(scope="module")
def swept() -> AnnData:
    adata = simulated()
    wi.tl.sweep_beta(adata, [200.0, 0.5, 1.0, 0.5], seeds=2, groupby="cell_type", **SMALL)
    return adata


def test_one_row_per_fit(swept: AnnData):
    table = swept.uns["sweep_beta"]["table"]
    assert table[["beta", "seed"]].to_numpy().tolist() == [[0.5, 0], [0.5, 1], [1, 0], [1, 1], [200, 0], [200, 1]]
    assert list(table.columns) == [
        "beta",
        "seed",
        "verdict",
        "elbo",
        "elbo_gain",
        "reconstruction",
        "kl",
        "n_active",
        "max_correlation",
        "total_correlation",
        "auc",
        "LMS-SMI",
        "LMS-SPN",
        "MIG",
    ]
    np.testing.assert_allclose(table["elbo"], -table["reconstruction"] - table["kl"], rtol=1e-12)
    assert table["verdict"].tolist() == ["healthy"] * 4 + ["total_collapse"] * 2


def test_the_floor_is_a_model_without_a_code(swept: AnnData):
    result = swept.uns["sweep_beta"]
    table, floor = result["table"], result["floor"].set_index("seed")["elbo"]
    np.testing.assert_allclose(table["elbo_gain"], table["elbo"] - table["seed"].map(floor))
    # a collapsed model is one
    assert (table.loc[table["beta"] == 200, "elbo_gain"].abs() < 0.1).all()
    assert (table.loc[table["beta"] < 200, "elbo_gain"] > 1).all()
    collapsed = table[table["beta"] == 200].iloc[0]
    assert (collapsed["kl"], collapsed["auc"], collapsed["MIG"]) == (pytest.approx(0, abs=0.01), 0.5, 0.0)


def test_equals_a_fit_by_hand(swept: AnnData):
    adata = simulated()
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, beta=0.5, seed=1, **SMALL["model_kwargs"])
    model.train(seed=1, enable_progress_bar=False, **SMALL["train_kwargs"])
    row = swept.uns["sweep_beta"]["table"].iloc[1]
    held_out = model.validation_indices
    assert len(held_out) == 12
    mean, var = model.get_latent_representation(return_dist=True)
    kl = 0.5 * (mean**2 + var - 1 - np.log(var))
    assert row["kl"] == pytest.approx(kl[held_out].sum(axis=1).mean(), rel=1e-4)
    errors = [float(model.get_reconstruction_error(indices=held_out)["reconstruction_loss"]) for _ in range(30)]
    assert row["reconstruction"] == pytest.approx(np.mean(errors), rel=0.02)
    active = wi.metrics.latent_usage(mean, var)["active"].to_numpy()
    assert row["n_active"] == active.sum()
    assert row["max_correlation"] == pytest.approx(wi.metrics.latent_correlation(mean[:, active]).largest, rel=1e-4)
    auc = wi.metrics.one_vs_rest_auc(mean[:, active], adata.obs["cell_type"])
    assert row["auc"] == pytest.approx((0.5 + (auc - 0.5).abs()).max().mean(), abs=1e-3)
    scores = wi.metrics.disentanglement(mean[:, active], adata.obs["cell_type"], metrics=["LMS-SMI", "MIG"])["score"]
    np.testing.assert_allclose(row[["LMS-SMI", "MIG"]].astype(float), scores, atol=1e-3)


def test_summary_and_recommendation(swept: AnnData):
    result = swept.uns["sweep_beta"]
    summary = result["summary"].set_index("beta")
    assert list(summary.index) == [0.5, 1.0, 200.0]
    by_beta = result["table"].groupby("beta")["elbo"]
    np.testing.assert_allclose(summary["elbo"], by_beta.mean())
    np.testing.assert_allclose(summary["elbo_sd"], by_beta.std())
    assert summary["n_collapsed"].tolist() == [0, 0, 2]
    assert 0 < summary["stability"][0.5] <= 1
    assert np.isnan(summary["stability"][200.0])
    assert result["recommended_beta"] in (0.5, 1.0)
    assert result["advice"].startswith(f"beta {result['recommended_beta']:g} is recommended")


def test_params_are_recorded_and_survive_writing(swept: AnnData, tmp_path: Path):
    swept.write_h5ad(tmp_path / "x.h5ad")
    back, written = ad.read_h5ad(tmp_path / "x.h5ad").uns["sweep_beta"], swept.uns["sweep_beta"]
    for name in ("table", "summary", "floor"):
        assert back[name].astype(written[name].dtypes).equals(written[name])
    assert back["recommended_beta"] == written["recommended_beta"]
    recorded = back["params"]
    assert recorded["betas"].tolist() == [0.5, 1.0, 200.0]
    assert recorded["seeds"].tolist() == [0, 1]
    assert recorded["model_kwargs"]["n_latent"] == 3
    assert (recorded["model_class"], recorded["groupby"]) == ("BetaLinearSCVI", "cell_type")


def state() -> tuple[int, float, int]:
    stores = wi.model.BetaLinearSCVI._per_instance_manager_store.values()
    managers = len(wi.model.BetaLinearSCVI._setup_adata_manager_store) + sum(map(len, stores))
    return managers, torch.get_rng_state().sum().item(), torch.get_num_threads()


def test_leaves_no_trace(swept: AnnData):
    adata = simulated()
    before, untouched = state(), adata.copy()
    assert wi.tl.sweep_beta(adata, [1.0], seeds=[1], **SMALL, copy=True).uns["sweep_beta"]["recommended_beta"] == 1.0
    assert "sweep_beta" not in adata.uns
    wi.tl.sweep_beta(adata, [0.5], seeds=1, seed=1, key_added="mine", groupby="cell_type", **SMALL)
    assert state() == before
    assert set(adata.uns) - set(untouched.uns) == {"mine"}
    assert list(adata.obs) == list(untouched.obs)
    np.testing.assert_array_equal(adata.X, untouched.X)
    pd.testing.assert_frame_equal(
        adata.uns["mine"]["table"], swept.uns["sweep_beta"]["table"].iloc[[1]].reset_index(drop=True).rename(index=str)
    )


def test_results_do_not_depend_on_the_backend(swept: AnnData):
    with joblib.parallel_config(backend="threading", n_jobs=3):
        threaded = wi.tl.sweep_beta(simulated(), [0.5, 1.0, 200.0], seeds=2, groupby="cell_type", copy=True, **SMALL)
    pd.testing.assert_frame_equal(threaded.uns["sweep_beta"]["table"], swept.uns["sweep_beta"]["table"])
    pd.testing.assert_frame_equal(threaded.uns["sweep_beta"]["summary"], swept.uns["sweep_beta"]["summary"])


@pytest.mark.slow
def test_results_do_not_depend_on_processes():
    """With a matrix large enough to be shared through a read-only file."""
    adata = wi.datasets.simulate_factors(400, 800, 3, n_cell_types=3)
    assert adata.X.data.nbytes > 1e6
    arguments: dict[str, Any] = {
        "seeds": 1,
        "model_kwargs": {"n_latent": 3, "n_hidden": 16},
        "train_kwargs": {"max_epochs": 3, "accelerator": "cpu"},
        "setup_kwargs": {"batch_key": "batch", "layer": "counts"},
        "progress": False,
        "copy": True,
    }
    serial = wi.tl.sweep_beta(adata, [0.1, 1.0], **arguments).uns["sweep_beta"]
    parallel = wi.tl.sweep_beta(adata, [0.1, 1.0], n_jobs=2, **arguments).uns["sweep_beta"]
    pd.testing.assert_frame_equal(parallel["table"], serial["table"])


def test_resumes(swept: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fits = []
    run_fit = _fit_cache.run_fit

    def counted(data: AnnData, fit: Any) -> Any:
        if len(fits) == 2:
            msg = "interrupted"
            raise RuntimeError(msg)
        fits.append((fit.model["beta"], fit.seed))
        return run_fit(data, fit)

    monkeypatch.setattr(_fit_cache, "run_fit", counted)
    arguments = {"seeds": 1, "groupby": "cell_type", "cache_dir": tmp_path / "fits", "copy": True, **SMALL}
    with pytest.raises(RuntimeError, match="interrupted"):
        wi.tl.sweep_beta(simulated(), [0.5, 1.0], **arguments)
    assert fits == [(1e4, 0), (0.5, 0)]
    fits[:] = [("again", 0)]
    first = wi.tl.sweep_beta(simulated(), [0.5, 1.0], **arguments).uns["sweep_beta"]
    assert fits == [("again", 0), (1.0, 0)]
    # nothing is left to be fitted
    second = wi.tl.sweep_beta(simulated(), [0.5, 1.0], **arguments).uns["sweep_beta"]
    assert len(fits) == 2
    pd.testing.assert_frame_equal(second["table"], first["table"])
    expected = swept.uns["sweep_beta"]["table"].query("seed == 0 and beta < 10").reset_index(drop=True)
    pd.testing.assert_frame_equal(first["table"], expected.rename(index=str))
    assert len(list((tmp_path / "fits").iterdir())) == 3


def test_other_objectives_rotation_and_setup():
    adata = wi.datasets.simulate_factors(100, 20, 3, n_cell_types=2, n_batches=2)
    adata.layers["raw"] = adata.X.copy()
    adata.X = None
    wi.tl.sweep_beta(
        adata,
        [1.0],
        seeds=1,
        model_kwargs={"n_latent": 2, "n_hidden": 8, "objective": "capacity", "capacity": 3.0},
        train_kwargs={"max_epochs": 8, "batch_size": 16, "accelerator": "cpu"},
        setup_kwargs={"layer": "raw", "categorical_covariate_keys": ["batch"]},
        rotate="varimax",
        progress=False,
    )
    result = adata.uns["sweep_beta"]
    assert abs(result["table"]["elbo"].iloc[0]) < 1000
    # the floor is one of the KL, or it would be pressed to carry three nats
    assert result["floor"]["elbo"].iloc[0] > result["table"]["elbo"].iloc[0] - 3
    assert "auc" not in result["table"]
    assert result["params"]["rotate"] == "varimax"


def test_divergence_is_recorded_and_not_recommended():
    adata = simulated()
    train = SMALL["train_kwargs"] | {"plan_kwargs": {"lr": 1e12}}
    with pytest.warns(UserWarning, match=".") as warned:
        wi.tl.sweep_beta(adata, [1.0], seeds=[3], **SMALL | {"train_kwargs": train})
    said = " ".join(str(each.message) for each in warned)
    assert "1 fit(s) diverged and have no scores: beta 1 (seed 3)" in said
    assert "No beta can be recommended" in said
    result = adata.uns["sweep_beta"]
    assert result["table"]["verdict"].tolist() == ["diverged"]
    assert np.isnan(result["recommended_beta"])
    assert result["summary"]["n_diverged"].tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"betas": []}, ValueError, r"betas=\[\]"),
        ({"betas": [1.0, -2.0]}, ValueError, "above 0"),
        ({"betas": [0.0]}, ValueError, "above 0"),
        ({"betas": [np.nan]}, ValueError, "finite"),
        ({"seeds": 0}, ValueError, "seeds=0"),
        ({"seeds": [1, 1]}, ValueError, "distinct"),
        ({"seeds": [-1]}, ValueError, "not negative"),
        ({"tolerance": 1.0}, ValueError, "tolerance"),
        ({"model_kwargs": {"beta": 2.0}}, ValueError, r"model_kwargs sets \['beta'\]"),
        ({"train_kwargs": {"seed": 2}}, ValueError, "use betas= and seeds="),
        ({"train_kwargs": {"train_size": 1.0}}, ValueError, "no validation cells"),
        ({"train_kwargs": {"callbacks": [object()]}}, TypeError, "callbacks"),
        ({"model_kwargs": {"n_latent": 0}}, ValueError, "n_latent=0"),
        ({"model_class": scvi.model.SCVI}, TypeError, "SCVI has no argument beta"),
        ({"setup_kwargs": {"batch_key": "cell_typ"}}, KeyError, "Did you mean 'cell_type'"),
        ({"groupby": "none"}, KeyError, "groupby='none'"),
        ({"groupby": "one"}, ValueError, "only 'a'"),
        ({"groupby": "cell_type", "metrics": ["nope"]}, ValueError, "nope"),
        ({"groupby": "two", "metrics": ["DCI-D"]}, ValueError, "DCI-D"),
    ],
)
def test_bad_input(arguments: dict[str, Any], error: type[Exception], message: str):
    adata = simulated()
    adata.obs["one"] = "a"
    adata.obs["two"] = np.where(np.arange(120) < 60, "a", "b")
    before = state()
    with pytest.raises(error, match=message):
        wi.tl.sweep_beta(adata, **{"betas": [1.0]} | SMALL | arguments)
    assert "sweep_beta" not in adata.uns
    assert state() == before


def test_a_model_that_cannot_be_rotated():
    class NoRotation(scvi.model.SCVI):
        def __init__(self, adata: AnnData, beta: float = 1.0):
            super().__init__(adata)

    with pytest.raises(TypeError, match="NoRotation has no rotate"):
        wi.tl.sweep_beta(simulated(), [1.0], model_class=NoRotation, rotate="varimax")


def test_minified_data():
    adata = wi.datasets.simulate_factors(60, 20, 3, n_cell_types=2, n_batches=1)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, seed=0)
    model.train(max_epochs=1, seed=0, accelerator="cpu", enable_progress_bar=False)
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = model.get_latent_representation(return_dist=True)
    model.minify_adata()
    with pytest.raises(ValueError, match="minified"):
        wi.tl.sweep_beta(model.adata, [1.0], **SMALL)
