"""Taking drivers away: planted effects are found with the right sign, bystanders are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"n_drivers": 6, "n_active": 2, "n_rna": 40, "n_protein": 20, "n_ptm": (6, 12), "n_metabolites": 8}
SETUP = {
    "rna": "rna",
    "protein": "protein",
    "ptm": ["ptm_0", "ptm_1"],
    "metabolome": "metabolome",
    "categorical_covariate_keys": ["lineage"],
}
FAST = {"progress": False, "n_null": 1000, "n_pairs": 5}


def fit(mdata: md.MuData, *, folds: int = 2, epochs: int = 2, setup: Any = SETUP, **kwargs: Any) -> list:
    wi.model.MultiOmicLPM.setup_mudata(mdata, **setup)
    models = []
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    for train, test in splitter.split(np.zeros(mdata.n_obs), mdata.obs["lineage"]):
        order = np.random.default_rng(0).permutation(train)
        model = wi.model.MultiOmicLPM(mdata, **({"n_latent": 4, "n_hidden": 16} | kwargs))
        model.train(epochs, external_indexing=[order[10:], order[:10], test], enable_progress_bar=False)
        models.append(model)
    return models


@pytest.fixture(scope="module")
def fitted() -> tuple[md.MuData, list]:
    mdata = wi.datasets.simulate_flow(200, **SMALL, fusion_layer=1, seed=1)
    return mdata, fit(mdata)


@pytest.fixture(scope="module")
def result(fitted) -> dict[str, Any]:
    mdata, models = fitted
    wi.tl.gene_knockout(mdata, models, **FAST)
    return mdata.uns["gene_knockout"]


def plain(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({name: str for name in ("driver", "layer") if name in table})


def test_shape_of_the_tables(fitted, result):
    mdata, _ = fitted
    n_features = sum(mdata[name].n_vars for name in mdata.mod if name != "drivers")
    assert result["features"].shape == (6 * n_features, 15)
    assert result["table"].shape == (6 * 5, 14)
    assert list(result["drivers"]["driver"]) == list(mdata["drivers"].var_names)
    assert list(result["table"]["layer"].cat.categories) == ["rna", "protein", "ptm_0", "ptm_1", "metabolome"]
    params = result["params"]
    assert params["held_out"] is True
    assert params["n_models"] == 2
    assert list(params["strata"]) == ["lineage"]
    for name in ("features", "table", "drivers"):
        tested = result[name]["pval"].notna()
        assert np.allclose(result[name]["padj"][tested], false_discovery_control(result[name]["pval"][tested]))


def test_active_drivers_are_found_and_bystanders_are_not(result):
    drivers = plain(result["drivers"]).set_index("driver")
    active = ["mut_0", "mut_1", "fusion"]
    assert (drivers.loc[active, "padj"] < 0.05).all()
    assert (drivers.drop(index=[*active, "cna"])["padj"] > 0.05).all()
    table = plain(result["table"]).set_index(["driver", "layer"])
    assert (table.loc["mut_0", "padj"][["rna", "protein"]] < 0.05).all()
    fusion = table.loc["fusion", "padj"]
    assert fusion["ptm_1"] < 0.05
    assert (fusion[["rna", "protein", "ptm_0"]] > 0.05).all()


def test_effects_have_the_sign_of_removal(fitted, result):
    mdata, _ = fitted
    features = plain(result["features"])
    for driver in ("mut_0", "mut_1"):
        here = features[(features["driver"] == driver) & (features["layer"] == "rna")]
        truth = mdata["rna"].varm["true_driver_effect"][:, mdata["drivers"].var_names.get_loc(driver)]
        assert np.corrcoef(here["effect"], -truth)[0, 1] > 0.8
        assert np.corrcoef(here["observed"], -truth)[0, 1] > 0.8
        called = (here["padj"] < 0.05).to_numpy()
        assert called.sum() > 5
        assert (np.sign(here["effect"][called]) == -np.sign(truth[called])).mean() > 0.95
    gene = mdata["drivers"].var.loc["cna", "gene_symbol"]
    raised = features[(features["driver"] == "cna") & (features["feature"] == gene)].iloc[0]
    assert raised["effect"] < 0
    assert raised["observed"] < 0


def test_adding_turns_signs_round(fitted, result):
    mdata, models = fitted
    added = wi.tl.gene_knockout(mdata, models, drivers="mut_0", set_to=1, layers="rna", copy=True, **FAST)
    there = plain(added.uns["gene_knockout"]["features"])
    here = plain(result["features"])
    here = here[(here["driver"] == "mut_0") & (here["layer"] == "rna")]
    assert np.corrcoef(there["effect"], here["effect"])[0, 1] < -0.9
    assert np.allclose(there["observed"], -here["observed"])
    assert np.array_equal(there["n_carriers"], here["n_carriers"])


def test_a_driver_alone_gets_what_it_gets_among_others(fitted, result):
    mdata, models = fitted
    alone = wi.tl.gene_knockout(mdata, models, drivers=["fusion"], copy=True, **FAST).uns["gene_knockout"]
    here = plain(result["features"])
    here = here[here["driver"] == "fusion"].drop(columns="padj").reset_index(drop=True)
    pd.testing.assert_frame_equal(plain(alone["features"]).drop(columns="padj").reset_index(drop=True), here)


def test_too_few_carriers_get_an_interval_and_no_verdict(fitted):
    mdata, models = fitted
    n = int(np.nansum(mdata["drivers"].to_df()["mut_2"]))
    found = wi.tl.gene_knockout(mdata, models, drivers="mut_2", min_carriers=n + 1, copy=True, **FAST)
    for name in ("features", "table", "drivers"):
        assert found.uns["gene_knockout"][name][["pval", "padj"]].isna().all(axis=None)
    assert found.uns["gene_knockout"]["features"][["effect", "low", "high"]].notna().all(axis=None)


def test_conditional_null(fitted):
    mdata, models = fitted
    found = wi.tl.gene_knockout(mdata, models, null="conditional", layers=["rna", "ptm_1"], copy=True, **FAST)
    drivers = plain(found.uns["gene_knockout"]["drivers"]).set_index("driver")
    assert (drivers.loc[["mut_0", "mut_1", "fusion"], "padj"] < 0.05).all()
    assert (drivers.loc[["mut_2", "mut_3"], "padj"] > 0.05).all()


def test_own_samples_are_warned_about(fitted):
    mdata, models = fitted
    with pytest.warns(UserWarning, match="samples it was fitted to"):
        found = wi.tl.gene_knockout(mdata, models[0], drivers="mut_0", layers="ptm_0", copy=True, **FAST)
    assert found.uns["gene_knockout"]["params"]["held_out"] is False


def test_copy_and_round_trip(fitted, tmp_path: Path):
    mdata, models = fitted
    before = mdata["drivers"].X.copy()
    keys = set(mdata.uns)
    found = wi.tl.gene_knockout(
        mdata, models, drivers=["mut_0", "cna"], layers=["ptm_0", "ptm_1"], key_added="ko", copy=True, **FAST
    )
    assert set(mdata.uns) == keys
    assert np.array_equal(mdata["drivers"].X, before, equal_nan=True)
    found.write_h5mu(tmp_path / "found.h5mu")
    back = md.read_h5mu(tmp_path / "found.h5mu")
    for name in ("features", "table", "drivers"):
        pd.testing.assert_frame_equal(plain(back.uns["ko"][name]), plain(found.uns["ko"][name]), check_dtype=False)
    assert wi.tl.gene_knockout(mdata, models, drivers="mut_0", layers="ptm_0", key_added="ko", **FAST) is None


def test_bad_input(fitted):
    mdata, models = fitted
    for changed, error, message in [
        ({"drivers": ["mut_0", "KRAS"]}, KeyError, r"\['KRAS'\], which are not drivers"),
        ({"drivers": []}, ValueError, "drivers is empty"),
        ({"layers": "lipids"}, KeyError, "layers names \\['lipids'\\]"),
        ({"strata": "tissue"}, KeyError, "strata names 'tissue'"),
        ({"null": "normal"}, ValueError, "null='normal'"),
        ({"n_pairs": -1}, ValueError, "n_pairs=-1"),
        ({"set_to": 3}, ValueError, "set_to=3"),
    ]:
        with pytest.raises(error, match=message):
            wi.tl.gene_knockout(mdata, models, **FAST | changed)
    with pytest.raises(TypeError, match="not a MultiOmicLPM"):
        wi.tl.gene_knockout(mdata, "model")


@pytest.mark.slow
def test_three_of_nineteen():
    """Research table 1.2, Q1: AUROC of at least .95 for the planted drivers, and few false calls among the others."""
    auroc, called, tested = [], 0, 0
    for seed in range(3):
        mdata = wi.datasets.simulate_flow(
            300, n_rna=100, n_protein=60, n_ptm=(10, 40), n_metabolites=20, fusion_layer=1, seed=seed
        )
        models = fit(mdata, folds=3, epochs=15, n_latent=8, n_hidden=32)
        wi.tl.gene_knockout(mdata, models, progress=False, n_null=10_000, n_pairs=0, seed=seed)
        result = mdata.uns["gene_knockout"]
        drivers = plain(result["drivers"]).set_index("driver")
        active = mdata.uns["simulate_flow"]["active_drivers"]
        others = [name for name in drivers.index if name.startswith("mut_")]
        auroc.append(roc_auc_score(np.isin(others, active), drivers.loc[others, "statistic"]))
        table = plain(result["table"])
        null = table[~table["driver"].isin([*active, "cna", "fusion"])]
        called += int((null["padj"] < 0.05).sum())
        tested += int((table["padj"] < 0.05).sum())
    assert min(auroc) >= 0.95
    assert called <= 0.1 * tested
