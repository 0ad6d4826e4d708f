"""Storms of one fold, as measured and as decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from scwhatif.tl._fold_models import fold_models as pair
from scwhatif.tl._storm_fold import FoldStorm, mean_of_layers

if TYPE_CHECKING:
    from mudata import MuData

    from scwhatif.model import MultiOmicLPM


@pytest.fixture
def storm(fold_data: MuData, fold_models: list[MultiOmicLPM]) -> FoldStorm:
    return FoldStorm(fold_data, pair(fold_data, fold_models).folds[0], "cohort")


def test_measured_storm_of_the_cohort_is_about_1(storm: FoldStorm, fold_data: MuData):
    assert storm.layers == ["ptm_0", "ptm_1"]
    assert storm.measured.shape == (40, 2)
    assert 0.7 < np.nanmean(storm.measured) < 1.3
    lacking = ~fold_data.obs_names[:40].isin(fold_data["ptm_0"].obs_names)
    assert np.isnan(storm.measured[lacking, 0]).all()
    assert lacking.any()


def test_parents_are_the_proteins_of_the_same_gene(storm: FoldStorm, fold_data: MuData):
    parents = storm.scales["ptm_0"].parents[:, 0].numpy()
    assert fold_data["protein"].var_names[parents].tolist() == fold_data["ptm_0"].var["parent"].tolist()
    # the planted weights are around .8 and the fit is to standardised values
    assert (storm.scales["ptm_0"].slope > 0).float().mean() > 0.5


def test_changes_are_differences_of_decoded_storms(storm: FoldStorm):
    found = storm.change([0, 3])
    assert found.shape == (40, 2, 2)
    x = storm.path.x
    for place, j in enumerate((0, 3)):
        off, on = x.clone(), x.clone()
        off[:, j], on[:, j] = 0, 1
        with torch.no_grad():
            wanted = (storm.decoded(on) - storm.decoded(off)).numpy()
        asked = storm.asked()[:, j]
        np.testing.assert_allclose(found[asked, place], wanted[asked])
        assert np.isnan(found[~asked, place]).all()


def test_shares_add_up_and_belong_to_carriers(storm: FoldStorm):
    shares, total = storm.shares(32)
    carried = (storm.path.x > 0).numpy() & storm.asked()
    assert np.array_equal(np.isnan(shares[..., 0]), ~carried)
    gap = np.where(np.isnan(shares), 0, shares).sum(axis=1) - total
    assert np.nanmax(np.abs(gap)) < 0.01 * np.nanmax(np.abs(total))


def test_residuals_do_not_depend_on_the_driver_itself(storm: FoldStorm):
    found = storm.residuals([2])
    kept = storm.path.x.clone()
    storm.path.x = kept.clone()
    storm.path.x[:, 2] = 1 - kept[:, 2]
    np.testing.assert_array_equal(found, storm.residuals([2]))
    assert not np.array_equal(found, storm.residuals([1]))


def test_another_reference_moves_the_scale(fold_data: MuData, fold_models: list[MultiOmicLPM], storm: FoldStorm):
    fold = pair(fold_data, fold_models).folds[0]
    other = FoldStorm(fold_data, fold, ("state", "normal"))
    assert not torch.equal(other.scales["ptm_0"].center, storm.scales["ptm_0"].center)
    torch.testing.assert_close(other.scales["ptm_0"].slope, storm.scales["ptm_0"].slope)
    fold_data.obs["few"] = np.where(np.arange(80) > 77, "normal", "tumour")
    with pytest.raises(ValueError, match=r"No site of 'ptm_0' varies in reference=\('few', 'normal'\)"):
        FoldStorm(fold_data, fold, ("few", "normal"))


def test_mean_of_layers():
    np.testing.assert_array_equal(mean_of_layers(np.array([[1, 3], [np.nan, 2], [np.nan] * 2])), [2, 2, np.nan])
