"""What may be asked of multi-omic samples."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from anndata import AnnData

import scwhatif as wi
from scwhatif.tl._driver_settings import warn_in_sample
from scwhatif.tl._fold_models import fold_models as pair
from scwhatif.tl._storm_settings import (
    check_counts,
    check_defaults,
    check_reference,
    check_single,
    driver_columns,
    driver_names,
    fitted_rows,
    in_mudata,
    sides_of,
)

if TYPE_CHECKING:
    from mudata import MuData

    from scwhatif.model import MultiOmicLPM


def test_arguments_of_the_other_kind_of_data():
    check_defaults(wi.tl.master_regulators, {"groupby": None, "match_on": ("mean", "detection")}, "MuData")
    with pytest.raises(ValueError, match="groupby='x' does not apply to MuData; leave it out"):
        check_defaults(wi.tl.master_regulators, {"n_baselines": 16, "groupby": "x"}, "MuData")
    with pytest.raises(ValueError, match="n_steps=0 must be at least 1"):
        check_counts(0, min_cells=1, n_steps=0)
    with pytest.raises(ValueError, match="n_null=-1 must not be negative"):
        check_counts(-1)


def test_kinds_of_data(fold_data: MuData):
    assert in_mudata(fold_data)
    assert not in_mudata(AnnData(np.zeros((2, 2))))
    assert check_single("model") == "model"
    with pytest.raises(TypeError, match="Several models are for MuData"):
        check_single(["model"])


def test_drivers(fold_models: list[MultiOmicLPM]):
    model = fold_models[0]
    assert driver_columns(model, None).tolist() == [0, 1, 2, 3, 4]
    assert driver_columns(model, ["fusion", "mut_1", "fusion"]).tolist() == [1, 4]
    assert driver_names(model, driver_columns(model, "cna")) == ["cna"]
    with pytest.raises(KeyError, match=r"candidates names \['BRAF'\], which are not drivers .*'mut_0'"):
        driver_columns(model, ["mut_0", "BRAF"])
    with pytest.raises(ValueError, match="candidates is empty"):
        driver_columns(model, [])
    with pytest.raises(ValueError, match="set up without drivers"):
        driver_columns(SimpleNamespace(module=SimpleNamespace(drivers=None)), None)


def test_reference(fold_data: MuData):
    assert check_reference(fold_data, "cohort").all()
    assert check_reference(fold_data, ("state", "normal")).sum() == 20
    fold_data.obs["one"] = np.where(np.arange(80) == 3, "normal", "tumour")
    for reference, error, match in [
        ("normal", ValueError, "must name a column of mdata.obs and one of its groups"),
        (("organ", "normal"), KeyError, "'organ' is not in mdata.obs, which holds"),
        (("state", "healthy"), KeyError, r"has no 'healthy'; it holds \['normal', 'tumour'\]"),
        (("one", "normal"), ValueError, r"has 1 sample\(s\) in mdata; at least 2 are needed"),
    ]:
        with pytest.raises(error, match=match):
            check_reference(fold_data, reference)


def test_reference_of_a_fold_is_what_its_model_was_fitted_to(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    rows, members = fitted_rows(fold_data, fold_models[0], ("state", "normal"))
    assert rows.tolist() == list(range(40, 80))
    assert np.array_equal(members, (fold_data.obs["state"] == "normal").to_numpy()[40:])
    assert fitted_rows(fold_data, fold_models[1], "cohort")[1].all()
    # samples are found by name
    shuffled = fold_data.copy()
    del shuffled.obsm["_scvi_extra_categorical_covs"]
    shuffled = shuffled[np.arange(80)[::-1]].copy()
    assert np.array_equal(fitted_rows(shuffled, fold_models[0], ("state", "normal"))[1], members)
    fold_data.obs["early"] = np.where(np.arange(80) < 40, "normal", "tumour")
    with pytest.raises(ValueError, match=r"has 0 sample\(s\) in the samples that a model was fitted to"):
        fitted_rows(fold_data, fold_models[0], ("early", "normal"))


def test_one_model_in_sample_is_warned_of(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    held_out, in_sample = pair(fold_data, fold_models), pair(fold_data, fold_models[0])
    warn_in_sample(held_out)
    with pytest.warns(UserWarning, match="asked about samples it was fitted to"):
        warn_in_sample(in_sample)
    assert (sides_of(held_out), sides_of(in_sample)) == (2, 2)
    assert sides_of(pair(fold_data.copy(), fold_models[0])) == 1
