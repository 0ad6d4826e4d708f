"""Tests of which layer leads the metabolites, on data with a known answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mudata as md
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scwhatif as wi
from scwhatif._mudata import without_pulling

if TYPE_CHECKING:
    from collections.abc import Callable

N = 160


def as_mudata(values: dict[str, np.ndarray]) -> md.MuData:
    layers = {}
    for name, x in values.items():
        layers[name] = AnnData(x.astype(np.float32))
        layers[name].obs_names = [f"s{i}" for i in range(len(x))]
        layers[name].var_names = [f"{name}_{j}" for j in range(x.shape[1])]
    with without_pulling():
        return md.MuData(layers)


def small_leader(seed: int, n_big: int = 80) -> md.MuData:
    """10 sites make the metabolites; many others know a little of them, and RNA a latent state behind both."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(N, 3))
    small = z @ rng.normal(size=(3, 10)) + rng.normal(size=(N, 10))
    metabolome = small @ rng.normal(size=(10, 2)) @ rng.normal(size=(2, 12)) / 4 + 0.5 * rng.normal(size=(N, 12))
    big = 0.3 * z @ rng.normal(size=(3, n_big)) + rng.normal(size=(N, n_big))
    rna = z @ rng.normal(size=(3, 20)) + rng.normal(size=(N, 20))
    return as_mudata({"rna": rna, "small": small, "big": big, "metabolome": metabolome})


def equal_information(seed: int, n_big: int = 80) -> md.MuData:
    """Both layers read the same latent state, site by site alike, and so do the metabolites."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(N, 3))

    def reads(n: int) -> np.ndarray:
        return z @ rng.normal(size=(3, n)) + rng.normal(size=(N, n))

    return as_mudata({"rna": reads(20), "small": reads(10), "big": reads(n_big), "metabolome": reads(12)})


PLANTED = {"drivers": None, "rna": "rna", "ptm": ["small", "big"], "metabolome": "metabolome", "cis": None}


@pytest.fixture
def led(fit_folds) -> Callable[..., dict[str, object]]:
    def run(mdata: md.MuData, **kwargs: object) -> dict[str, object]:
        wi.tl.storm_leader(mdata, fit_folds(mdata, **PLANTED), n_sets=40, n_permutations=19, **kwargs)
        return mdata.uns["storm_leader"]

    return run


def test_a_small_leading_layer_is_found_against_a_big_weak_one(led):
    found = led(small_leader(0))
    assert found["leader"] == "small"
    table = found["layers"].set_index("layer")
    assert table["leader"].tolist() == [True, False]
    assert table.loc["small", "percentile"] == 100
    np.testing.assert_allclose(table["pval"], [1 / 41, 1])
    np.testing.assert_allclose(table["padj"], [2 / 41, 1])
    assert table.loc["small", "n_features"] == table.loc["small", "set_size"] == 10
    # as many as half of the 30 other features
    assert table.loc["big", "set_size"] == 15
    unique = found["measures"].set_index(["layer", "measure"]).loc[("small", "unique")]
    assert unique["low"] > 0


def test_equal_information_in_layers_of_unequal_size_has_no_leader(led):
    found = led(equal_information(0))
    assert found["leader"] == "no leader"
    assert not found["layers"]["leader"].any()
    # what ranks panels by their size
    lead = found["layers"].set_index("layer")["lead"]
    assert lead["big"] > lead["small"]


@pytest.mark.slow
def test_leaders_over_seeds(led):
    assert [led(small_leader(seed))["leader"] for seed in range(1, 6)] == ["small"] * 5
    assert [led(equal_information(seed))["leader"] for seed in range(1, 6)] == ["no leader"] * 5


@pytest.fixture(scope="module")
def flow(flow_folds) -> tuple[md.MuData, list[wi.model.MultiOmicLPM]]:
    mdata, models = flow_folds
    wi.tl.storm_leader(mdata, models, n_sets=40, n_permutations=39)
    return mdata, models


def test_leader_of_the_simulated_flow(flow):
    mdata, _ = flow
    found = mdata.uns["storm_leader"]
    assert found["leader"] == mdata.uns["simulate_flow"]["leading_layer"] == "ptm_0"
    measures = found["measures"].set_index(["layer", "measure"])
    # all that the drivers say of the metabolites passes through the leading layer
    assert measures.loc[("ptm_0", "drivers_add"), "effect"] < 0.02
    assert measures.loc[("ptm_0", "lead"), "padj"] < 0.05


def test_measures_are_what_predictions_out_of_fold_give(flow):
    mdata, models = flow
    y, *others = (mdata[name].to_df().reindex(mdata.obs_names) for name in ("metabolome", "ptm_0", "ptm_1"))
    complete = np.logical_and.reduce([each.notna().any(axis=1) for each in (y, *others)])

    def r2(**kwargs: object) -> float:
        error, total = 0.0, 0.0
        for model in models:
            rows = np.sort(model.test_indices)[complete[np.sort(model.test_indices)]]
            total = total + (y.iloc[rows] - y.iloc[np.sort(model.train_indices)].mean()).pow(2).sum()
            error = error + (y.iloc[rows] - model.predict("metabolome", indices=rows, **kwargs)).pow(2).sum()
        return float((1 - error / total).mean())

    measures = mdata.uns["storm_leader"]["measures"].set_index(["layer", "measure"])
    alone = {name: r2(given=[name]) for name in ("ptm_0", "ptm_1")}
    both, nothing = r2(given=["ptm_0", "ptm_1"]), r2(given=[])
    without = r2(given=["drivers", "rna", "protein", "ptm_1"])
    assert measures.loc[("ptm_0", "lead"), "effect"] == pytest.approx(alone["ptm_0"], abs=1e-4)
    share = (alone["ptm_0"] - nothing + both - alone["ptm_1"]) / 2
    assert measures.loc[("ptm_0", "shapley"), "effect"] == pytest.approx(share, abs=1e-4)
    assert measures.loc[("ptm_0", "unique"), "effect"] == pytest.approx(r2() - without, abs=1e-4)
    assert (measures["n_samples"].xs("lead", level="measure") == complete.sum()).all()
    floors = mdata.uns["storm_leader"]["floors"].set_index("measure")["effect"]
    np.testing.assert_allclose(floors[["covariates", "layers", "all"]], [nothing, both, r2()], atol=1e-4)
    shares = measures["effect"].xs("shapley", level="measure")
    assert shares.sum() == pytest.approx(floors["layers"] - floors["covariates"])


def test_a_unique_share_of_no_consequence_does_not_lead(flow):
    mdata, models = flow
    kwargs = {"n_sets": 40, "n_permutations": 0, "min_unique": 0.9, "copy": True}
    found = wi.tl.storm_leader(mdata, models, **kwargs).uns["storm_leader"]
    assert found["leader"] == "no leader"
    assert not found["layers"]["leader"].any()
    before = mdata.uns["storm_leader"]["layers"]
    pd.testing.assert_frame_equal(found["layers"].drop(columns="leader"), before.drop(columns="leader"))


def test_shape_of_the_tables(flow):
    found = flow[0].uns["storm_leader"]
    assert found["measures"].columns.tolist() == [
        *("layer", "measure", "effect", "se", "low", "high", "pval", "padj", "n_samples", "n_models"),
    ]
    assert found["measures"]["measure"].tolist() == ["lead", "shapley", "unique", "drivers_add"] * 2
    assert found["layers"]["layer"].tolist() == ["ptm_0", "ptm_1"]
    assert found["sets"]["layer"].value_counts().tolist() == [40, 40]
    assert found["params"]["target"] == "metabolome"
    assert list(found["params"]["pool"]) == ["rna", "protein", "ptm_0", "ptm_1"]
    medians = found["sets"].groupby("layer", observed=True)[["reader", "set"]].median()
    np.testing.assert_allclose(medians, found["layers"].set_index("layer")[["reader", "set_median"]])


def test_survives_writing_and_copy_leaves_the_input(flow, tmp_path):
    mdata, models = flow
    other = wi.tl.storm_leader(
        mdata, models, target="protein", pool="rna", n_sets=40, n_permutations=0, key_added="again", copy=True
    )
    assert "again" not in mdata.uns
    assert other.uns["again"]["params"]["target"] == "protein"
    assert other.uns["again"]["measures"]["pval"].isna().all()
    path = tmp_path / "flow.h5mu"
    with without_pulling():
        other.write_h5mu(path)
        read = md.read_h5mu(path)
    assert read.uns["storm_leader"]["leader"] == "ptm_0"
    for table in ("layers", "measures", "sets", "floors"):
        expected = other.uns["storm_leader"][table]
        pd.testing.assert_frame_equal(read.uns["storm_leader"][table], expected, check_dtype=False)


def test_bad_input_is_named_before_anything_is_written(flow):
    mdata, models = flow
    keys = set(mdata.uns)
    for error, message, kwargs in [
        (KeyError, r"target names .'lipids'.", {"target": "lipids"}),
        (KeyError, r"layers names .'acetyl'.", {"layers": ["ptm_0", "acetyl"]}),
        (KeyError, r"pool names .'acetyl'.", {"pool": "acetyl"}),
        (KeyError, "strata names 'tissue', which is not in mdata.obs", {"strata": "tissue"}),
        (ValueError, r"target='ptm_0' is among the layers compared", {"target": "ptm_0"}),
        (ValueError, r"pool=.'ptm_0'. leaves nothing to compare 'ptm_0' with", {"pool": "ptm_0"}),
        (ValueError, "n_sets=0 must be at least 1", {"n_sets": 0}),
        (ValueError, "n_permutations=-1 not negative", {"n_permutations": -1}),
        (ValueError, r"alpha=1.5 must lie within \(0, 1\)", {"alpha": 1.5}),
        (ValueError, "min_unique=-1 not be negative", {"min_unique": -1}),
        (ValueError, "n_sets=30 is too few for 2 layers: .* Use 40 or more", {"n_sets": 30}),
    ]:
        with pytest.raises(error, match=message):
            wi.tl.storm_leader(mdata, models, key_added="bad", **kwargs)
    assert set(mdata.uns) == keys


def test_without_a_metabolome(fit_folds):
    mdata = small_leader(0, n_big=20)
    models = fit_folds(mdata, 2, **{**PLANTED, "metabolome": None})
    with pytest.raises(ValueError, match="target names no layer, and the model was set up without one"):
        wi.tl.storm_leader(mdata, models)
    wi.tl.storm_leader(mdata, models, target="rna", layers="small", n_sets=19, n_permutations=0)
    assert mdata.uns["storm_leader"]["measures"]["measure"].tolist() == ["lead", "shapley", "unique"]
