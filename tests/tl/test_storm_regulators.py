"""Drivers ranked by the PTM storm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mudata as md
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi
from scwhatif._mudata import without_pulling
from scwhatif.tl._fold_models import fold_models as pair
from scwhatif.tl._storm_fold import FoldStorm

if TYPE_CHECKING:
    from pathlib import Path

    from mudata import MuData

    from scwhatif.model import MultiOmicLPM

METHODS = ["difference", "integrated_gradients"]
DRIVERS = ["mut_0", "mut_1", "mut_2", "cna", "fusion"]


def run(mdata: MuData, model: Any, **kwargs: Any) -> dict[str, Any]:
    settings = {"n_null": 200, "n_steps": 16, "progress": False} | kwargs
    wi.tl.master_regulators(mdata, model, "storm", **settings)
    return mdata.uns[kwargs.get("key_added", "master_regulators")]


def test_effects_are_those_of_the_folds(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    result = run(fold_data, fold_models, method=METHODS)
    table = result["table"]
    assert table.groupby("method", observed=True, sort=False).size().to_dict() == dict.fromkeys(METHODS, 5)
    folds = pair(fold_data, fold_models).folds
    change = np.concatenate([FoldStorm(fold_data, fold, "cohort").change(range(5)) for fold in folds])
    found = table[table["method"] == "difference"].set_index("driver").loc[DRIVERS]
    np.testing.assert_allclose(found["effect"], np.nanmean(change.mean(axis=2), axis=0))
    layers = result["layers"].query("method == 'difference'").pivot_table("effect", "driver", "layer", observed=True)
    np.testing.assert_allclose(layers.loc[DRIVERS], np.nanmean(change, axis=0))
    assert ((found["low"] < found["effect"]) & (found["effect"] < found["high"])).all()
    assert (found["n_models"] == 2).all()
    assert table.groupby("method", observed=True)["effect"].is_monotonic_decreasing.all()
    methods = result["methods"].set_index("method")
    assert np.isnan(methods.loc["difference", "completeness"])
    assert methods.loc["integrated_gradients", "completeness"] < 0.01
    assert methods["spearman_random"].abs().max() < 0.9
    assert list(result["agreement"].columns) == ["method_a", "method_b", "spearman"]
    storm = np.concatenate([np.nanmean(FoldStorm(fold_data, fold, "cohort").measured, axis=1) for fold in folds])
    np.testing.assert_allclose(fold_data.obs["master_regulators_storm"], storm)


def test_table_says_what_was_tested(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    result = run(fold_data, fold_models, min_cells=2, reference=("state", "normal"), seed=3)
    table, made = result["table"], result["params"]
    tested = table["pval"].notna()
    assert tested.any()
    assert table.loc[tested, "pval"].between(1 / 201, 1).all()
    assert (table["padj"] >= table["pval"])[tested].all()
    assert table.loc[tested, "selection_probability"].between(0, 1).all()
    assert table["master"].dtype == bool
    assert (table["master"] == ((table["selection_probability"] >= 0.8) & (table["effect"] > 0))).all()
    carriers = fold_data["drivers"].to_df().sum()
    assert (table.set_index("driver")["n_carriers"] <= carriers[table["driver"]].to_numpy()).all()
    assert (table["se"] > table["observed_se"]).all()
    assert (made["held_out"], made["n_models"], made["target"]) == (True, 2, "storm")
    assert list(made["reference"]) == ["state", "normal"]
    assert list(made["strata"]) == ["lineage"]
    few = run(fold_data, fold_models, min_cells=100, candidates=["fusion", "mut_0"])["table"]
    assert few["pval"].isna().all()
    assert few["effect"].notna().all()
    assert not few["master"].any()
    kept = table.set_index("driver")["effect"][few["driver"]]
    assert not np.array_equal(few["effect"], kept)  # measured against another reference


def test_the_same_seed_gives_the_same_table(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    first, second = (run(fold_data, fold_models, key_added=key)["table"] for key in ("a", "b"))
    pd.testing.assert_frame_equal(first, second)


def test_a_single_model_is_warned_of_unless_samples_are_new(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    with pytest.warns(UserWarning, match="asked about samples it was fitted to"):
        result = run(fold_data, fold_models[0])
    assert not result["params"]["held_out"]
    assert (result["table"]["n_models"] == 1).all()
    new = fold_data[:40].copy()
    assert run(new, fold_models[0])["params"]["held_out"]
    assert new.obs["master_regulators_storm"].notna().sum() > 30


def test_survives_a_file(fold_data: MuData, fold_models: list[MultiOmicLPM], tmp_path: Path):
    result = run(fold_data, fold_models, method=METHODS)
    fold_data.write_h5mu(tmp_path / "x.h5mu")
    with without_pulling():
        again = md.read_h5mu(tmp_path / "x.h5mu")
    for name in ("table", "layers", "methods", "agreement"):
        pd.testing.assert_frame_equal(again.uns["master_regulators"][name], result[name])
    assert dict(again.uns["master_regulators"]["params"])["n_null"] == 200
    np.testing.assert_array_equal(again.obs["master_regulators_storm"], fold_data.obs["master_regulators_storm"])


def test_copy_leaves_the_samples_alone(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    result = wi.tl.master_regulators(fold_data, fold_models, "storm", n_null=0, progress=False, copy=True)
    assert "master_regulators" in result.uns
    assert "master_regulators" not in fold_data.uns
    assert result.uns["master_regulators"]["table"][["pval", "padj", "statistic"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"groupby": "lineage"}, ValueError, "groupby='lineage' does not apply to MuData"),
        ({"n_jobs": 2}, ValueError, "n_jobs=2 does not apply to MuData"),
        ({"method": "ko"}, ValueError, r"method='ko' must be one or more of \('difference'"),
        ({"method": []}, ValueError, "must be one or more of"),
        ({"candidates": "BRAF"}, KeyError, r"\['BRAF'\], which are not drivers"),
        ({"reference": ("state", "healthy")}, KeyError, "has no 'healthy'"),
        ({"reference": ("organ", "healthy")}, KeyError, "'organ' is not in mdata.obs"),
        ({"strata": "organ"}, KeyError, "'organ'"),
        ({"min_cells": 0}, ValueError, "min_cells=0 must be at least 1"),
        ({"n_null": -1}, ValueError, "n_null=-1 must not be negative"),
    ],
)
def test_bad_input(fold_data: MuData, fold_models: list[MultiOmicLPM], kwargs: dict, error: type, match: str):
    with pytest.raises(error, match=match):
        run(fold_data, fold_models, **kwargs)
    assert "master_regulators" not in fold_data.uns


def test_other_targets_and_layers_without_sites(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    with pytest.raises(ValueError, match="target='z0' must be 'storm' with MuData"):
        wi.tl.master_regulators(fold_data, fold_models, "z0")
    other = fold_data.copy()
    wi.model.MultiOmicLPM.setup_mudata(other, rna="rna", protein="protein")
    model = wi.model.MultiOmicLPM(other, n_latent=2, n_hidden=4, driver_encoder="linear", evidence=None)
    model.train(1, enable_progress_bar=False)
    with pytest.raises(ValueError, match="needs layers of modified sites"):
        run(other, model)


@pytest.mark.slow
def test_ranking_is_the_planted_one():
    mdata = wi.datasets.simulate_flow(
        800,
        n_drivers=8,
        n_active=6,
        n_rna=40,
        n_protein=30,
        n_ptm=(20, 30),
        n_metabolites=5,
        n_latent=4,
        fusion_layer=1,
        confounding=0.3,
        missing_samples=0.0,
        missing_values=0.02,
        seed=3,
    )
    rows = np.arange(800)
    truth = planted_storm(mdata, rows[600:])
    # active drivers are about equally strong; calls of the weaker ones are handed out anew in more samples
    rng = np.random.default_rng(0)
    active = truth[[f"mut_{j}" for j in range(6)]].sort_values(ascending=False).index
    for name, share in zip(active, np.linspace(0, 1, 6), strict=True):
        column = mdata["drivers"].var_names.get_loc(name)
        anew = np.flatnonzero(rng.random(800) < share)
        mdata["drivers"].X[anew, column] = mdata["drivers"].X[rng.permutation(anew), column]
        truth[name] *= 1 - share
    wi.model.MultiOmicLPM.setup_mudata(
        mdata,
        rna="rna",
        protein="protein",
        ptm=["ptm_0", "ptm_1"],
        metabolome="metabolome",
        categorical_covariate_keys=["lineage"],
    )
    model = wi.model.MultiOmicLPM(mdata, n_latent=6, n_hidden=32, driver_encoder="linear", evidence=None, beta=0.002)
    parts = [rows[:540], rows[540:600], rows[600:]]
    model.train(50, external_indexing=parts, plan_kwargs={"lr": 5e-3}, enable_progress_bar=False)
    table = run(mdata, [model], n_null=2000)["table"].set_index("driver")
    assert table["effect"][truth.index].corr(truth, method="spearman") >= 0.9
    assert abs(mdata.uns["master_regulators"]["methods"]["spearman_random"].item()) < 0.5
    # the fusion acts on one layer and nothing else
    assert table.index[0] == "fusion"
    assert table.loc["fusion", "master"]


def planted_storm(mdata: MuData, rows: np.ndarray) -> pd.Series:
    """Change of the storm by each driver, from noise-free values and the planted effects."""
    names = mdata.obs_names
    x = mdata["drivers"][names].to_df().fillna(0).to_numpy()[rows]
    protein = mdata["protein"][names]
    changes = []
    for name in ("ptm_0", "ptm_1"):
        sites = mdata[name][names]
        parents = protein.var_names.get_indexer(sites.var["parent"])
        parent, mean = protein.layers["true_mean"][:, parents], sites.layers["true_mean"]
        slope = [np.polyfit(parent[:, j], mean[:, j], 1)[0] for j in range(sites.n_vars)]
        residual = mean - slope * parent
        measured = sites.X - slope * protein.X[:, parents]
        centre, spread = np.nanmean(measured, axis=0), np.nanstd(measured, axis=0)
        step = sites.varm["true_driver_effect"] - np.c_[slope] * protein.varm["true_driver_effect"][parents]
        by_driver = []
        for j in range(x.shape[1]):
            off = residual[rows] - np.outer(x[:, j], step[:, j])
            before, after = (np.sqrt((((r - centre) / spread) ** 2).mean(axis=1)) for r in (off, off + step[:, j]))
            by_driver.append((after - before).mean())
        changes.append(by_driver)
    return pd.Series(np.mean(changes, axis=0), mdata["drivers"].var_names)
