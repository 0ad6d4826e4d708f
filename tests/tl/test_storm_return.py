"""Drivers ranked by how far they keep samples from a reference."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import mudata as md
import numpy as np
import pandas as pd
import pytest
import torch

import scwhatif as wi
from scwhatif._mudata import without_pulling
from scwhatif.tl._fold_models import fold_models as pair
from scwhatif.tl._storm_return import ReturnPath

if TYPE_CHECKING:
    from pathlib import Path

    from mudata import MuData

    from scwhatif.model import MultiOmicLPM

NORMAL = ("state", "normal")


def run(mdata: MuData, model: Any, reference: Any = NORMAL, **kwargs: Any) -> dict[str, Any]:
    wi.tl.resistance_drivers(mdata, model, reference=reference, **({"n_null": 200, "progress": False} | kwargs))
    return mdata.uns[kwargs.get("key_added", "resistance_drivers")]


def test_distances_are_those_from_the_reference(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    from sklearn.covariance import LedoitWolf

    model = fold_models[0]
    path = ReturnPath(fold_data, pair(fold_data, fold_models).folds[0], NORMAL)
    z = model.get_latent_representation(fold_data).astype(np.float64)
    normal = z[[i for i in range(40, 80) if i % 4 == 0]]
    fitted = LedoitWolf().fit(normal)
    rows = np.arange(40)
    found = path.distance(rows, np.zeros((40, 5), dtype=bool))
    np.testing.assert_allclose(found, np.sqrt(fitted.mahalanobis(z[:40])), rtol=1e-4)
    # one driver off is what the model calls a shift
    off = np.zeros((40, 5), dtype=bool)
    off[:, 1] = True
    shift = model.get_driver_shift({"mut_1": 0}, fold_data, indices=rows)
    called = ~np.isnan(shift).any(axis=1)
    np.testing.assert_allclose(
        path.distance(rows, off)[called], np.sqrt(fitted.mahalanobis((z[:40] + shift)[called])), rtol=1e-4
    )


def test_others_are_taken_off_whatever_the_driver_itself_is(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    path = ReturnPath(fold_data, pair(fold_data, fold_models).folds[0], NORMAL)
    found = path.without_others(0)
    path.path.x[:, 0] = 1 - path.path.x[:, 0]
    np.testing.assert_array_equal(found, path.without_others(0))


def test_shares_of_a_sample_add_up(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    result = run(fold_data, fold_models)
    shares, distance = fold_data.obsm["resistance_drivers"], fold_data.obs["resistance_drivers_distance"].to_numpy()
    tumour = (fold_data.obs["state"] == "tumour").to_numpy()
    assert np.isnan(shares[~tumour]).all()
    off = np.concatenate(
        [
            path.distance(np.arange(40), path.path.x.numpy() == 1)
            for path in (ReturnPath(fold_data, fold, NORMAL) for fold in pair(fold_data, fold_models).folds)
        ]
    )
    np.testing.assert_allclose(np.nansum(shares, axis=1)[tumour], (distance - off)[tumour], atol=1e-6)
    table = result["table"].set_index("driver")
    np.testing.assert_allclose(table["effect"], np.nanmean(shares, axis=0)[[*map(names(result).index, table.index)]])
    np.testing.assert_array_equal(
        table["n_carriers"], (~np.isnan(shares)).sum(axis=0)[[*map(names(result).index, table.index)]]
    )
    row = result["distance"].iloc[0]
    assert row["n_samples"] == tumour.sum()
    assert row["before"] == pytest.approx(distance[tumour].mean())
    assert row["inhibited"] == pytest.approx(off[tumour].mean())
    assert row["reference"] == pytest.approx(distance[~tumour].mean())


def names(result: dict[str, Any]) -> list[str]:
    return list(result["params"]["drivers"])


def test_planted_coefficients_come_back(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    """Along one direction and far from the reference, distances are additive in the drivers."""
    coefficient = np.array([1.0, 0.5, 0.0, 0.25, 0.75])
    path = ReturnPath(fold_data, pair(fold_data, fold_models).folds[0], "cohort")
    encoder = deepcopy(path.path._encoder)
    with torch.no_grad():
        encoder.called.weight.zero_()
        encoder.called.weight[0] = torch.tensor(coefficient)
        # a sure expert outweighs the prior
        encoder.log_variance.fill_(-8.0)
    path.path._encoder = encoder
    path.state = torch.tensor([100.0, 0.0, 0.0], dtype=torch.float64).expand(40, 3)
    path.own = path._seed(np.arange(40), path.path.x)
    scale = float(np.linalg.norm(path.readout.whitening[0]))
    active = (path.path.x > 0).numpy()
    from scwhatif.tl._driver_shapley import driver_shapley

    shares = driver_shapley(active, path.distance, rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.nanmean(shares, axis=0), coefficient * scale, rtol=0.05, atol=1e-3)


def test_candidates_are_the_players(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    result = run(fold_data, fold_models, "cohort", candidates=["fusion", "mut_0"], min_cells=2, strata=[])
    assert names(result) == ["mut_0", "fusion"]
    assert fold_data.obsm["resistance_drivers"].shape == (80, 2)
    table = result["table"]
    assert (table["padj"] >= table["pval"]).all()
    assert table["selection_probability"].between(0, 1).all()
    assert np.isnan(result["distance"]["reference"].item())
    assert result["distance"]["n_samples"].item() == fold_data.obs["resistance_drivers_distance"].notna().sum()


def test_a_single_model_and_a_copy(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    with pytest.warns(UserWarning, match="asked about samples it was fitted to"):
        result = wi.tl.resistance_drivers(
            fold_data, fold_models[0], reference=NORMAL, n_null=0, progress=False, copy=True
        )
    assert "resistance_drivers" not in fold_data.uns
    assert not result.uns["resistance_drivers"]["params"]["held_out"]
    assert result.uns["resistance_drivers"]["table"]["pval"].isna().all()


def test_survives_a_file(fold_data: MuData, fold_models: list[MultiOmicLPM], tmp_path: Path):
    result = run(fold_data, fold_models)
    fold_data.write_h5mu(tmp_path / "x.h5mu")
    with without_pulling():
        again = md.read_h5mu(tmp_path / "x.h5mu")
    for name in ("table", "distance"):
        pd.testing.assert_frame_equal(again.uns["resistance_drivers"][name], result[name])
    np.testing.assert_array_equal(again.obsm["resistance_drivers"], fold_data.obsm["resistance_drivers"])
    assert list(again.uns["resistance_drivers"]["params"]["drivers"]) == names(result)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"inhibited": "mut_0"}, ValueError, "inhibited='mut_0' does not apply to MuData"),
        ({"max_set": 3}, ValueError, "max_set=3 does not apply to MuData"),
        ({"reference": "normal"}, ValueError, "must name a column of mdata.obs and one of its groups"),
        ({"reference": ("organ", "normal")}, KeyError, "'organ' is not in mdata.obs"),
        ({"reference": ("state", "healthy")}, KeyError, "has no 'healthy'"),
        ({"candidates": "BRAF"}, KeyError, r"\['BRAF'\], which are not drivers"),
        ({"min_cells": 0}, ValueError, "min_cells=0 must be at least 1"),
    ],
)
def test_bad_input(fold_data: MuData, fold_models: list[MultiOmicLPM], kwargs: dict, error: type, match: str):
    with pytest.raises(error, match=match):
        run(fold_data, fold_models, **kwargs)
    assert "resistance_drivers" not in fold_data.uns


def test_reference_of_one_sample_or_none(fold_data: MuData, fold_models: list[MultiOmicLPM]):
    fold_data.obs["one"] = np.where(np.arange(80) == 50, "normal", "tumour")
    with pytest.raises(ValueError, match=r"has 1 sample\(s\) in mdata; at least 2"):
        run(fold_data, fold_models, ("one", "normal"))
    with pytest.raises(TypeError, match="reference"):
        wi.tl.resistance_drivers(fold_data, fold_models)
