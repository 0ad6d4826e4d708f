"""Tests of what a hidden layer can be told from, on data with a known answer."""

from __future__ import annotations

import warnings

import mudata as md
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scwhatif as wi
from scwhatif._mudata import without_pulling

N = 160
MEASURES = ["all", "covariates", "beyond_covariates", "parent", "beyond_parent"]


def build(seed: int = 0) -> md.MuData:
    """RNA and a redundant layer read two latent numbers, one layer is noise, one is noise and batch like the RNA."""
    rng = np.random.default_rng(seed)
    batch = rng.permutation(np.arange(N) % 3)
    z = rng.normal(size=(N, 2))
    shift = 2 * rng.normal(size=(3, 20))
    values = {
        "rna": z @ rng.normal(size=(2, 20)) + shift[batch] + 0.3 * rng.normal(size=(N, 20)),
        "redundant": z @ rng.normal(size=(2, 12)) + 0.2 * rng.normal(size=(N, 12)),
        "independent": rng.normal(size=(N, 12)),
        "batch_only": 2 * rng.normal(size=(3, 12))[batch] + 0.3 * rng.normal(size=(N, 12)),
    }
    layers = {}
    for name, x in values.items():
        layers[name] = AnnData(x.astype(np.float32))
        layers[name].obs_names = [f"s{i}" for i in range(N)]
        layers[name].var_names = [f"{name}_{j}" for j in range(x.shape[1])]
    with without_pulling():
        mdata = md.MuData(layers)
    mdata.obs["batch"] = pd.Categorical(batch.astype(str))
    return mdata


PLANTED = {"drivers": None, "rna": "rna", "ptm": ["redundant", "independent", "batch_only"], "cis": None}


@pytest.fixture(scope="module")
def planted(fit_folds) -> pd.DataFrame:
    """Layers, with and without the batch as a covariate of the model."""
    tables = []
    for keys in ([], ["batch"]):
        mdata = build()
        models = fit_folds(mdata, **PLANTED, categorical_covariate_keys=keys)
        wi.tl.ptm_dependency(mdata, models, n_permutations=99)
        tables.append(mdata.uns["ptm_dependency"]["layers"].assign(batch=bool(keys)))
    return pd.concat(tables).set_index(["batch", "layer", "measure"])


def test_redundant_and_independent_layers(planted):
    assert planted.loc[(False, "redundant", "all"), "effect"] > 0.8
    assert planted.loc[(False, "independent", "all"), "effect"] < 0.02
    assert planted.loc[(False, "redundant", "all"), "padj"] < 0.05
    assert planted.loc[(False, "independent", "all"), "padj"] > 0.05
    low, high = planted.loc[(False, "redundant", "all"), ["low", "high"]]
    assert 0.6 < low < planted.loc[(False, "redundant", "all"), "effect"] < high


def test_a_layer_of_nothing_but_batch_collapses_once_the_batch_is_a_covariate(planted):
    assert planted.loc[(False, "batch_only", "all"), "effect"] > 0.8
    assert planted.loc[(True, "batch_only", "covariates"), "effect"] > 0.8
    assert planted.loc[(True, "batch_only", "beyond_covariates"), "effect"] < 0.02
    assert planted.loc[(True, "batch_only", "beyond_covariates"), "padj"] > 0.05
    assert planted.loc[(True, "redundant", "beyond_covariates"), "effect"] > 0.8


@pytest.fixture(scope="module")
def flow(flow_folds) -> tuple[md.MuData, list[wi.model.MultiOmicLPM]]:
    mdata, models = flow_folds
    wi.tl.ptm_dependency(mdata, models, n_permutations=39)
    return mdata, models


def test_parent_and_fusion(flow):
    table = flow[0].uns["ptm_dependency"]["layers"].set_index(["layer", "measure"])
    # sites follow their protein, those of the second layer a fusion besides
    mdata = flow[0]
    protein = mdata["protein"].to_df().reindex(mdata.obs_names)
    for name in ("ptm_0", "ptm_1"):
        site = mdata[name].to_df().reindex(mdata.obs_names)
        parents = mdata[name].var["parent"]
        squared = np.mean([site[j].corr(protein[parents[j]]) ** 2 for j in site])
        assert table.loc[(name, "parent"), "effect"] == pytest.approx(squared, abs=0.08)
    assert table.loc[("ptm_1", "beyond_parent"), "effect"] > 0.3
    sources = flow[0].uns["ptm_dependency"]["sources"].set_index(["layer", "source", "measure"])
    assert sources.loc[("ptm_1", "drivers", "unique"), "low"] > 0
    assert sources.loc[("ptm_0", "drivers", "unique"), "low"] < 0.02
    assert sources.loc[("ptm_0", "protein", "alone"), "effect"] > sources.loc[("ptm_0", "drivers", "alone"), "effect"]


def test_tables_are_what_predictions_out_of_fold_give(flow):
    mdata, models = flow
    found = mdata.uns["ptm_dependency"]
    y = mdata["ptm_1"].to_df().reindex(mdata.obs_names)
    seen = y.notna().any(axis=1).to_numpy()
    error, total, without = 0.0, 0.0, 0.0
    for model in models:
        rows = np.sort(model.test_indices)[seen[np.sort(model.test_indices)]]
        truth = y.iloc[rows]
        total = total + (truth - y.iloc[np.sort(model.train_indices)].mean()).pow(2).sum()
        error = error + (truth - model.predict("ptm_1", indices=rows)).pow(2).sum()
        without = without + (truth - model.predict("ptm_1", given=[], indices=rows)).pow(2).sum()
    layers = found["layers"].set_index(["layer", "measure"])["effect"]
    assert layers["ptm_1", "all"] == pytest.approx((1 - error / total).mean(), abs=1e-4)
    assert layers["ptm_1", "covariates"] == pytest.approx((1 - without / total).mean(), abs=1e-4)
    assert layers["ptm_1", "beyond_covariates"] == pytest.approx((1 - error / without).mean(), abs=1e-4)
    sites = found["sites"].query("layer == 'ptm_1' and measure == 'all'").set_index("feature")
    np.testing.assert_allclose(sites["effect"], (1 - error / total).loc[sites.index], atol=1e-4)
    assert sites["parents"].tolist() == mdata["ptm_1"].var["parent"].tolist()


def test_shape_of_the_tables(flow):
    found = flow[0].uns["ptm_dependency"]
    statistics = ["effect", "se", "low", "high", "pval", "padj"]
    assert found["layers"].columns.tolist() == ["layer", "measure", *statistics, "n_features", "n_models"]
    assert found["layers"]["measure"].tolist() == MEASURES * 2
    assert found["sources"].columns.tolist() == ["layer", "source", "measure", *statistics, "n_samples", "n_models"]
    assert len(found["sources"]) == 2 * 5 * 2
    assert found["sites"].columns.tolist() == ["layer", "feature", "measure", *statistics, "parents", "n_models"]
    assert len(found["sites"]) == (8 + 20) * 5
    assert (found["layers"]["n_models"] == 5).all()
    assert found["layers"]["pval"].isna().tolist() == [measure == "covariates" for measure in MEASURES] * 2
    assert (found["layers"]["low"] < found["layers"]["high"]).all()
    assert found["params"]["held_out"]
    assert list(found["params"]["strata"]) == ["lineage"]
    assert found["params"]["parent"] == "protein"


def test_survives_writing_and_copy_leaves_the_input(flow, tmp_path):
    mdata, models = flow
    before = mdata.uns["ptm_dependency"]["layers"].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        other = wi.tl.ptm_dependency(
            mdata, models, layers="ptm_0", parent="rna", strata=[], n_permutations=0, key_added="again", copy=True
        )
    assert "again" not in mdata.uns
    pd.testing.assert_frame_equal(mdata.uns["ptm_dependency"]["layers"], before)
    assert other.uns["again"]["layers"]["layer"].unique().tolist() == ["ptm_0"]
    assert other.uns["again"]["layers"]["pval"].isna().all()
    assert other.uns["again"]["sites"]["parents"].str.startswith("gene_").all()
    path = tmp_path / "flow.h5mu"
    with without_pulling():
        other.write_h5mu(path)
        read = md.read_h5mu(path)
    for key in ("ptm_dependency", "again"):
        for table in ("layers", "sources", "sites"):
            pd.testing.assert_frame_equal(read.uns[key][table], other.uns[key][table], check_dtype=False)


def test_the_same_seed_gives_the_same_p_values(flow):
    mdata, models = flow
    first, second = (
        wi.tl.ptm_dependency(mdata, models, layers="ptm_0", n_permutations=9, seed=3, copy=True) for _ in range(2)
    )
    for table in ("layers", "sources", "sites"):
        pd.testing.assert_frame_equal(first.uns["ptm_dependency"][table], second.uns["ptm_dependency"][table])


def test_a_single_model_warns_and_takes_intervals_over_samples(flow):
    mdata, models = flow
    with pytest.warns(UserWarning, match="asked about samples it was fitted to"):
        wi.tl.ptm_dependency(mdata, models[0], n_permutations=9, key_added="in_sample")
    found = mdata.uns.pop("in_sample")
    assert not found["params"]["held_out"]
    assert np.isfinite(found["layers"][["low", "high"]]).all().all()
    held_out = mdata.uns["ptm_dependency"]["layers"]
    assert (found["layers"]["effect"] > held_out["effect"]).mean() > 0.5


def test_bad_input_is_named_before_anything_is_written(flow):
    mdata, models = flow
    keys = set(mdata.uns)
    for error, message, kwargs in [
        (KeyError, r"layers names .'acetyl'., which are not layers of the model", {"layers": ["acetyl"]}),
        (KeyError, r"parent names .'prot'.", {"parent": "prot"}),
        (KeyError, "strata names 'tissue', which is not in mdata.obs", {"strata": ["tissue"]}),
        (ValueError, "n_permutations=-1 must not be negative", {"n_permutations": -1}),
    ]:
        with pytest.raises(error, match=message):
            wi.tl.ptm_dependency(mdata, models, key_added="bad", **kwargs)
    with pytest.raises(ValueError, match="model is an empty sequence"):
        wi.tl.ptm_dependency(mdata, [], key_added="bad")
    assert set(mdata.uns) == keys
