"""Cross-validation: nothing leaks, nothing is lost when killed, nothing depends on the number of jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import joblib
import mudata as md
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi
from scwhatif._provenance import weights_hash

if TYPE_CHECKING:
    from pathlib import Path

SMALL: dict[str, Any] = {
    "n_drivers": 6,
    "n_rna": 12,
    "n_protein": 8,
    "n_ptm": (5, 4),
    "n_metabolites": 4,
    "fusion_layer": 0,
}
SETUP: dict[str, Any] = {
    "rna": "rna",
    "protein": "protein",
    "ptm": ["ptm_0", "ptm_1"],
    "metabolome": "metabolome",
    "categorical_covariate_keys": ["lineage"],
}
SETTINGS: dict[str, Any] = {
    "setup_kwargs": SETUP,
    "model_kwargs": {"n_latent": 3, "n_hidden": 8},
    "train_kwargs": {"max_epochs": 2, "accelerator": "cpu"},
    "progress": False,
}
LAYERS = ["rna", "protein", "ptm_0", "ptm_1", "metabolome"]
BY_ROW = ["layer", "inputs", "method"]


def simulated(n: int = 60, **change: Any) -> md.MuData:
    return wi.datasets.simulate_flow(n, **{**SMALL, **change})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folds")


@pytest.fixture(scope="module")
def validated(folder: Path) -> md.MuData:
    mdata = simulated()
    wi.tl.cross_validate(mdata, cv=3, directory=folder, **SETTINGS)
    return mdata


def r2(mdata: md.MuData, layer: str, inputs: str = "imputation", method: str = "MultiOmicLPM") -> pd.Series:
    table = mdata.uns["cross_validate"]["table"]
    return table.loc[(table[BY_ROW] == [layer, inputs, method]).all(axis=1), "r2"]


def test_tables(validated: md.MuData):
    result = validated.uns["cross_validate"]
    table, summary, folds = result["table"], result["summary"], result["folds"]
    # three inputs with mean and covariates, two with ridge, three with the model
    assert len(table) == 3 * len(LAYERS) * (3 * 2 + 2 + 3)
    assert list(table["layer"].cat.categories) == LAYERS
    assert list(table["method"].cat.categories) == ["mean", "covariates", "ridge", "MultiOmicLPM"]
    assert table["n_samples"].dtype == np.int64
    assert (table.loc[table["method"] == "mean", "r2"] == 0).all()
    assert len(summary) == len(table) / 3
    means = table.groupby(BY_ROW, observed=True)["r2"].mean()
    np.testing.assert_allclose(summary.set_index(BY_ROW)["r2"], means.loc[summary.set_index(BY_ROW).index])
    assert sorted(folds["sample"]) == sorted(validated.obs_names)
    assert folds["fold"].value_counts().tolist() == [20, 20, 20]


def test_params_are_recorded_and_all_survives_writing(validated: md.MuData, tmp_path: Path):
    validated.write_h5mu(tmp_path / "x.h5mu")
    back, written = md.read_h5mu(tmp_path / "x.h5mu").uns["cross_validate"], validated.uns["cross_validate"]
    for name in ("table", "summary", "folds"):
        pd.testing.assert_frame_equal(
            back[name].astype(written[name].dtypes), written[name], check_index_type=False, check_names=False
        )
    recorded = back["params"]
    assert (recorded["cv"], recorded["seed"], recorded["model_class"]) == (3, 42, "MultiOmicLPM")
    assert recorded["targets"].tolist() == LAYERS
    assert recorded["setup_kwargs"]["ptm"].tolist() == ["ptm_0", "ptm_1"]
    assert recorded["train_size"] == 0.9


def test_nothing_else_is_touched(validated: md.MuData):
    fresh = simulated()
    assert set(validated.uns) - set(fresh.uns) == {"cross_validate"}
    assert list(validated.obsm) == list(fresh.obsm)
    assert list(validated.obs) == list(fresh.obs)
    for name in fresh.mod:
        np.testing.assert_array_equal(validated[name].X, fresh[name].X)
        assert not validated[name].uns


def test_equals_a_fit_by_hand(validated: md.MuData, folder: Path):
    mdata = simulated()
    model = wi.model.load_folds(folder, mdata)[1]
    parts = [model.train_indices, model.validation_indices, model.test_indices]
    assert [len(part) for part in parts] == [36, 4, 20]
    wi.model.MultiOmicLPM.setup_mudata(mdata, **SETUP)
    by_hand = wi.model.MultiOmicLPM(mdata, n_latent=3, n_hidden=8, seed=43)
    by_hand.train(2, external_indexing=parts, seed=43, enable_progress_bar=False, accelerator="cpu")
    assert weights_hash(by_hand.module) == weights_hash(model.module)
    y = mdata["metabolome"].to_df().reindex(mdata.obs_names)
    test, outside = y.iloc[parts[2]], y.iloc[np.concatenate(parts[:2])]
    error = ((test - by_hand.predict("metabolome", indices=parts[2])) ** 2).sum()
    expected = (1 - error / ((test - outside.mean()) ** 2).sum()).mean()
    assert r2(validated, "metabolome").iloc[1] == pytest.approx(expected, abs=1e-5)


def test_garbage_in_the_test_samples_changes_no_weight(tmp_path: Path):
    hashes = []
    for garbage in (False, True):
        mdata = simulated()
        pairs = [(np.arange(40), np.arange(40, 60))]
        held_out = mdata.obs_names[40:]
        rng = np.random.default_rng(1)
        for name in mdata.mod if garbage else ():
            rows = mdata[name].obs_names.isin(held_out)
            shape = mdata[name].X[rows].shape
            mdata[name].X[rows] = rng.integers(0, 2, shape) if name == "drivers" else 1e3 * rng.normal(size=shape)
        wi.tl.cross_validate(mdata, cv=pairs, directory=tmp_path / str(garbage), **SETTINGS)
        model = wi.model.load_folds(tmp_path / str(garbage), mdata)[0]
        hashes.append((weights_hash(model.module), str(model.latent_share_)))
    assert hashes[0] == hashes[1]


def test_a_column_that_tells_the_truth_in_test_samples_only_is_not_used():
    scores = []
    test = np.arange(40, 60)
    for planted in (True, False):
        mdata = simulated()
        names = mdata.obs_names[test]
        truth = mdata["protein"].to_df().reindex(names).iloc[:, 0].fillna(0.0)
        values = truth if planted else truth.sample(frac=1, random_state=0).set_axis(names)
        # measured nowhere else
        column = values.reindex(mdata["rna"].obs_names).to_numpy(dtype=np.float32)
        mdata["rna"].X[:, 0] = column
        mdata["rna"].var["gene_symbol"] = mdata["rna"].var["gene_symbol"].astype(object)
        mdata["rna"].var.iloc[0, 0] = mdata["protein"].var["gene_symbol"].iloc[0]
        wi.tl.cross_validate(mdata, cv=[(np.arange(40), test)], baselines=[], targets=["protein"], **SETTINGS)
        scores.append(r2(mdata, "protein").iloc[0])
    # a leak would raise one of eight features to 1
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_a_permuted_layer_is_not_predicted():
    mdata = simulated(100)
    rng = np.random.default_rng(0)
    mdata["protein"].X[:] = rng.permutation(mdata["protein"].X)
    wi.tl.cross_validate(mdata, cv=3, baselines=[], targets=["protein", "rna"], **SETTINGS)
    assert r2(mdata, "protein").mean() <= 0.01
    assert r2(mdata, "rna").mean() > 0.1


def count_fits(monkeypatch: pytest.MonkeyPatch, *, stop_at: int | None = None) -> list[int]:
    train, seeds = wi.model.MultiOmicLPM.train, []

    def counted(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(seeds) == stop_at:
            raise KeyboardInterrupt
        seeds.append(kwargs["seed"])
        train(self, *args, **kwargs)

    monkeypatch.setattr(wi.model.MultiOmicLPM, "train", counted)
    return seeds


def test_a_killed_run_goes_on(validated: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mdata = simulated()
    with monkeypatch.context() as patch:
        count_fits(patch, stop_at=1)
        with pytest.raises(KeyboardInterrupt):
            wi.tl.cross_validate(mdata, cv=3, directory=tmp_path, **SETTINGS)
    assert "cross_validate" not in mdata.uns
    assert len(list(tmp_path.glob("repeat_0_fold_*"))) == 1
    with pytest.raises(FileNotFoundError, match="lacks 2 of 3 fold"):
        wi.model.load_folds(tmp_path, mdata)
    with monkeypatch.context() as patch:
        fits = count_fits(patch)
        wi.tl.cross_validate(mdata, cv=3, directory=tmp_path, **SETTINGS)
    assert fits == [43, 44]
    pd.testing.assert_frame_equal(mdata.uns["cross_validate"]["table"], validated.uns["cross_validate"]["table"])


def test_folds_of_other_settings_or_data_are_not_taken(
    validated: md.MuData, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    fits = count_fits(monkeypatch)
    wi.tl.cross_validate(simulated(), cv=3, directory=folder, confidence=0.9, **SETTINGS)
    assert not fits
    changed = {**SETTINGS, "model_kwargs": {**SETTINGS["model_kwargs"], "beta": 0.02}}
    wi.tl.cross_validate(simulated(), cv=3, directory=folder, **changed)
    assert len(fits) == 3
    mdata = simulated()
    mdata["metabolome"].X[0, 0] += 1
    wi.tl.cross_validate(mdata, cv=3, directory=folder, **SETTINGS)
    assert len(fits) == 6
    # and back: what was there is still there
    wi.tl.cross_validate(simulated(), cv=3, directory=folder, **SETTINGS)
    assert len(fits) == 6


def test_threads_change_nothing(validated: md.MuData):
    mdata = simulated()
    with joblib.parallel_config(backend="threading", n_jobs=3):
        wi.tl.cross_validate(mdata, cv=3, **SETTINGS)
    pd.testing.assert_frame_equal(mdata.uns["cross_validate"]["table"], validated.uns["cross_validate"]["table"])


@pytest.mark.slow
def test_processes_change_nothing(validated: md.MuData, tmp_path: Path):
    mdata = simulated()
    wi.tl.cross_validate(mdata, cv=3, n_jobs=2, directory=tmp_path, **SETTINGS)
    pd.testing.assert_frame_equal(mdata.uns["cross_validate"]["table"], validated.uns["cross_validate"]["table"])
    assert len(wi.model.load_folds(tmp_path, mdata)) == 3


@pytest.mark.slow
def test_a_dask_cluster_changes_nothing(validated: md.MuData, tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    mdata = simulated()
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        wi.tl.cross_validate(mdata, cv=3, **SETTINGS)
    pd.testing.assert_frame_equal(mdata.uns["cross_validate"]["table"], validated.uns["cross_validate"]["table"])


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_whole_folds(tmp_path: Path):
    script = f"""
import scwhatif as wi
mdata = wi.datasets.simulate_flow(60, **{SMALL!r})
settings = {SETTINGS!r} | {{"train_kwargs": {{"max_epochs": 40, "accelerator": "cpu"}}}}
wi.tl.cross_validate(mdata, cv=6, directory={str(tmp_path)!r}, **settings)
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("repeat_0_fold_0_*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = list(tmp_path.glob("repeat_0_fold_*"))
    assert 1 <= len(done) < 6
    assert all((each / "scores.json").exists() and (each / "model" / "model.pt").exists() for each in done)


def test_whole_lineages_are_held_out_and_repeats_differ():
    mdata = simulated()
    wi.tl.cross_validate(mdata, cv=4, groups="lineage", targets=["protein"], baselines=["mean"], **SETTINGS)
    folds = mdata.uns["cross_validate"]["folds"]
    lineage = mdata.obs["lineage"].loc[folds["sample"]].to_numpy()
    assert folds.groupby("fold")["sample"].count().tolist() == [15] * 4
    assert pd.crosstab(lineage, folds["fold"]).gt(0).sum(axis=1).eq(1).all()
    wi.tl.cross_validate(
        mdata, cv=2, n_repeats=2, stratify="lineage", targets=["rna"], baselines=[], key_added="again", **SETTINGS
    )
    again = mdata.uns["again"]
    assert again["summary"]["n_folds"].eq(4).all()
    first, second = (part["sample"].tolist() for _, part in again["folds"].groupby("repeat"))
    assert sorted(first) == sorted(second)
    assert first != second
    assert "above_mean" not in again["summary"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model_class": dict}, TypeError, "has no setup_mudata"),
        ({"cv": 61}, ValueError, "61 folds cannot be made of 60 samples"),
        ({"groups": "donor"}, KeyError, "groups='donor'"),
        ({"targets": ["lipids"]}, KeyError, r"targets=\['lipids'\] must be layers"),
        ({"targets": []}, KeyError, r"targets=\[\] must be layers"),
        ({"baselines": ["pls"]}, ValueError, r"baselines=\['pls'\]"),
        ({"confidence": 1}, ValueError, "confidence=1"),
        ({"model_kwargs": {"seed": 1}}, ValueError, r"model_kwargs sets \['seed'\]"),
        ({"model_kwargs": {"beta": -1}}, ValueError, "beta=-1"),
        ({"model_kwargs": {"links": object()}}, TypeError, "links"),
        ({"train_kwargs": {"external_indexing": []}}, ValueError, r"sets \['external_indexing'\]"),
        ({"setup_kwargs": {"rna": "rna", "lipids": "l"}}, ValueError, r"setup_kwargs sets \['lipids'\]"),
        ({"setup_kwargs": {"rna": "mrna"}}, KeyError, r"\['mrna'\], which are not modalities"),
        ({"setup_kwargs": None}, ValueError, "Nothing was measured"),
    ],
)
def test_bad_input_is_told_before_any_fit(
    change: dict[str, Any], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
):
    fits = count_fits(monkeypatch)
    with pytest.raises(error, match=message):
        wi.tl.cross_validate(simulated(), **{**SETTINGS, **change})
    assert not fits


def test_copy():
    mdata = simulated()
    settings = {**SETTINGS, "model_kwargs": {"n_latent": 2, "n_hidden": 4}}
    copied = wi.tl.cross_validate(mdata, cv=2, targets=["rna"], baselines=[], copy=True, **settings)
    assert "cross_validate" in copied.uns
    assert "cross_validate" not in mdata.uns
