from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from scwhatif._mudata import without_pulling
from scwhatif.datasets import simulate_flow
from scwhatif.model import MultiOmicLPM

if TYPE_CHECKING:
    import mudata as md

SETUP = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "metabolome": "metabolome"}


@pytest.fixture
def mdata() -> md.MuData:
    return simulate_flow(40, n_rna=12, n_protein=8, n_ptm=(5,), n_metabolites=4, fusion_layer=0, n_drivers=6)


def _set(mdata: md.MuData, name: str, column: int | slice, value: float) -> None:
    mdata[name].X[:, column] = value


def _no_carrier(mdata):
    _set(mdata, "drivers", 1, 0.0)


def _all_carriers(mdata):
    _set(mdata, "drivers", 2, 1.0)


def _third_call(mdata):
    mdata["drivers"].X[0, 0] = 2.0


def _never_measured(mdata):
    _set(mdata, "protein", 3, np.nan)


def _constant(mdata):
    _set(mdata, "rna", 4, 1.5)


def _infinite(mdata):
    mdata["rna"].X[0, 0] = np.inf


def _counts(mdata):
    mdata["rna"].X[:] = np.round(np.abs(mdata["rna"].X) * 10)


def _binary(mdata):
    mdata["rna"].X[:] = mdata["rna"].X > 0


def _empty_sample(mdata):
    name = mdata.obs_names[0]
    for modality in mdata.mod.values():
        if name in modality.obs_names:
            modality.X[modality.obs_names.get_loc(name)] = np.nan


def _duplicate_rows(mdata):
    names = mdata["protein"].obs_names.to_list()
    names[1] = names[0]
    mdata["protein"].obs_names = names


def _duplicate_features(mdata):
    names = mdata["protein"].var_names.to_list()
    names[1] = names[0]
    mdata["protein"].var_names = names


def _stale(mdata):
    names = mdata["protein"].obs_names.to_list()
    names[1] = "new"
    mdata["protein"].obs_names = names


def _no_lineage(mdata):
    mdata.obs["lineage"] = mdata.obs["lineage"].astype(object)
    mdata.obs.loc[mdata.obs_names[0], "lineage"] = None


def _continuous(mdata):
    mdata.obs["lineage"] = np.linspace(0, 1, mdata.n_obs)


def _no_genes(mdata):
    for modality in mdata.mod.values():
        if "gene_symbol" in modality.var:
            del modality.var["gene_symbol"]


def _nothing(mdata):
    pass


@pytest.mark.parametrize(
    ("spoil", "setup", "error", "message"),
    [
        (_no_carrier, {}, ValueError, "driver.s. with no carrier: 'mut_1'"),
        (_all_carriers, {}, ValueError, "nothing but carriers: 'mut_2'"),
        (_third_call, {}, ValueError, "must hold 0, 1 or NaN .not called.; it does not in 'mut_0'"),
        (_never_measured, {}, ValueError, "'protein'. has 1 feature.s. without a single value: 'protein_"),
        (_constant, {}, ValueError, "'rna'. has 1 constant feature.s.: 'gene_4'"),
        (_infinite, {}, ValueError, "'rna'. holds 1 infinite"),
        (_counts, {}, ValueError, "whole numbers from 0 to .*likelihoods=.'rna': 'nb'"),
        (_binary, {}, ValueError, "likelihoods=.'rna': 'bernoulli'"),
        (_empty_sample, {}, ValueError, "Nothing was measured in 1 sample"),
        (_duplicate_rows, {}, ValueError, "'protein'. has 1 duplicated obs_names"),
        (_duplicate_features, {}, ValueError, "'protein'. has 1 duplicated var_names"),
        (_stale, {}, ValueError, "mdata.obs_names lack 'new' of mdata.'protein'.; run mdata.update"),
        (_no_lineage, {"categorical_covariate_keys": ["lineage"]}, ValueError, "is missing for 1 sample"),
        (_continuous, {"categorical_covariate_keys": ["lineage"]}, ValueError, "is continuous"),
        (_no_genes, {}, KeyError, "No modality has the column var.'gene_symbol'."),
        (_nothing, {"rna": "RNA"}, KeyError, "'RNA'. are not modalities of mdata, which holds"),
        (_nothing, {"ptm": ["rna"]}, ValueError, "named twice: .'rna'"),
        (_nothing, {"rna": None, "protein": None, "ptm": [], "metabolome": None}, ValueError, "besides the drivers"),
        (_nothing, {"likelihoods": {"cna": "normal"}}, KeyError, "likelihoods names .'cna'., which have no place"),
        (_nothing, {"likelihoods": {"rna": "poisson"}}, ValueError, "'poisson' is not one of"),
        (_nothing, {"likelihoods": {"rna": "nb"}}, ValueError, "'rna'. is not counts"),
        (_nothing, {"likelihoods": {"drivers": "normal"}}, ValueError, "drivers are 0, 1 or NaN"),
        (_nothing, {"layers": {"rna": "counts"}}, KeyError, "layer='counts' is not in"),
        (_nothing, {"categorical_covariate_keys": ["tissue"]}, KeyError, "'tissue', which is not in mdata.obs"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(mdata, spoil, setup, error, message):
    with without_pulling():
        spoil(mdata)
        with pytest.raises(error, match=message):
            MultiOmicLPM.setup_mudata(mdata, **{**SETUP, **setup})
    assert not [key for key in mdata.uns if key.startswith("_scvi")]


def test_anndata_is_refused_with_the_reason(mdata):
    with pytest.raises(TypeError, match=r"mudata\.MuData"):
        MultiOmicLPM.setup_anndata(mdata["rna"])
    with pytest.raises(TypeError, match=r"needs a MuData .* not AnnData"):
        MultiOmicLPM.setup_mudata(mdata["rna"], **SETUP)


def test_text_is_no_data(mdata):
    mdata.mod["rna"] = mdata["rna"].copy()
    mdata["rna"].layers["text"] = mdata["rna"].X.astype(str).astype(object)
    with pytest.raises(TypeError, match=r"'rna'. has dtype object"):
        MultiOmicLPM.setup_mudata(mdata, **SETUP, layers={"rna": "text"})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_latent": 0}, "n_latent=0"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"align_weight": np.nan}, "align_weight=nan"),
        ({"reduction": "median"}, "reduction='median'"),
        ({"decoder": "deep"}, "decoder='deep'"),
        ({"evidence": "all"}, "evidence='all'"),
        ({"driver_encoder": "mlp"}, "driver_encoder='mlp'"),
    ],
)
def test_bad_settings(mdata, kwargs, message):
    MultiOmicLPM.setup_mudata(mdata, **SETUP)
    with pytest.raises(ValueError, match=message):
        MultiOmicLPM(mdata, **kwargs)
