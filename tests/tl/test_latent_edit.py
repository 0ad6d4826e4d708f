from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

KEY = "latent_edit"
AXIS = "type_0_to_type_1"
QUIET = {"progress": False}


@pytest.fixture(scope="module")
def trained():
    adata = wi.datasets.simulate_factors(300, 60, 3, n_cell_types=3, n_batches=2, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, n_hidden=32, seed=0)
    model.train(max_epochs=60, batch_size=64, seed=0, accelerator="cpu", enable_progress_bar=False)
    model.rotate("varimax")
    adata.obsm["X_wi"] = model.get_latent_representation()
    wi.tl.axis(adata, "cell_type", ("type_0", "type_1"))
    return adata, model


@pytest.fixture
def adata(trained):
    return trained[0].copy()


@pytest.fixture
def model(trained):
    return trained[1]


def test_one_state_becomes_the_other(adata, model):
    start = adata.obs["cell_type"] == "type_0"
    wi.tl.latent_edit(adata, model, AXIS, cells=start, clamp=False, layer_added="after", n_top=60, **QUIET)
    found = adata.uns["axis"][AXIS]
    np.testing.assert_allclose(adata.obsm[f"{KEY}_shift"][start], np.tile(found["vector"], (start.sum(), 1)), atol=1e-5)
    assert not adata.obsm[f"{KEY}_shift"][~start].any()
    moved = (adata.obsm["X_wi"] + adata.obsm[f"{KEY}_shift"])[start].mean(axis=0)
    np.testing.assert_allclose(moved, found["target"], atol=1e-4)
    # what decodes there is what cells of the other state express
    decoded = wi.tl.decode(model, adata.obsm["X_wi"][adata.obs["cell_type"] == "type_1"], library_size=1e4).mean(axis=0)
    after = adata.layers["after"][start]
    after = (after / after.sum(axis=1, keepdims=True) * 1e4).mean(axis=0)
    assert np.corrcoef(np.log(after), np.log(decoded))[0, 1] > 0.98
    assert adata.uns[KEY]["params"]["clamped_share"] == 0


def test_steps_lead_there_half_way_and_back(adata, model):
    vector = adata.uns["axis"][AXIS]["vector"]
    for step in (0.5, -1.0):
        wi.tl.latent_edit(adata, model, AXIS, step=step, clamp=False, decode=False, **QUIET)
        np.testing.assert_allclose(adata.obsm[f"{KEY}_shift"], np.tile(step * vector, (300, 1)), atol=1e-5)


def test_clamped_cells_stay_in_the_observed_range(adata, model):
    position = adata.obs[f"axis_{AXIS}"].to_numpy()
    high = np.quantile(position, 0.995)
    wi.tl.latent_edit(adata, model, AXIS, step=1.0, decode=False, **QUIET)
    found = adata.uns["axis"][AXIS]
    after = (adata.obsm["X_wi"] + adata.obsm[f"{KEY}_shift"] - found["origin"]) @ found["unit"] / found["length"]
    np.testing.assert_allclose(after, np.clip(position + 1, None, np.maximum(high, position)), atol=1e-4)
    assert after.max() <= max(high, position.max()) + 1e-4
    assert adata.uns[KEY]["params"]["clamped_share"] == pytest.approx((position + 1 > high).mean())
    # cells that were beyond already are not moved back
    assert (adata.obs[f"{KEY}_norm"][position > high] == 0).all()


def test_dimensions_by_text(adata, model):
    wi.tl.latent_edit(adata, model, "z1:+0.5", clamp=False, decode=False, **QUIET)
    np.testing.assert_allclose(adata.obsm[f"{KEY}_shift"], np.tile([0, 0.5, 0], (300, 1)), atol=1e-6)
    z = adata.obsm["X_wi"].astype(float)
    wi.tl.latent_edit(adata, model, wi.Perturbation.parse("z1:=0 + z2:+9"), step=0.5, decode=False, **QUIET)
    low, high = np.quantile(z, [0.005, 0.995], axis=0)
    expected = z * [1, 0.5, 1]
    expected[:, 2] += 4.5
    expected = np.clip(expected, np.minimum(low, z), np.maximum(high, z))
    np.testing.assert_allclose(z + adata.obsm[f"{KEY}_shift"], expected, atol=1e-5)
    assert adata.uns[KEY]["params"]["edit"] == "z1:=0 + z2:+9"


def test_same_fields_as_perturb(adata, model):
    wi.tl.perturb(adata, model, "z1:+0.25", groupby="cell_type", **QUIET)
    wi.tl.latent_edit(adata, model, "z1:+0.25", clamp=False, groupby="cell_type", **QUIET)
    for name in ("norm", "distance", "kl", "outlier"):
        np.testing.assert_allclose(adata.obs[f"{KEY}_{name}"], adata.obs[f"perturb_{name}"], rtol=1e-5)
    for name in ("by_group", "genes"):
        there, here = adata.uns["perturb"][name], adata.uns[KEY][name]
        assert list(here.columns) == list(there.columns)
        number = here.select_dtypes("number").columns
        np.testing.assert_allclose(here[number], there[number], rtol=1e-4)


def test_cells_by_name(adata, model):
    wi.tl.latent_edit(adata, model, AXIS, cells=adata.obs_names[[3, 9]], clamp=False, decode=False, **QUIET)
    assert np.flatnonzero(adata.obs[f"{KEY}_norm"]).tolist() == [3, 9]
    assert adata.uns[KEY]["by_group"]["n_changed"].tolist() == [2]
    assert adata.uns[KEY]["params"]["n_cells"] == 2


def test_out_of_distribution_without_clamping(adata, model):
    wi.tl.latent_edit(adata, model, AXIS, step=20, clamp=False, decode=False, **QUIET)
    assert adata.obs[f"{KEY}_outlier"].all()
    wi.tl.latent_edit(adata, model, AXIS, step=20, decode=False, **QUIET)
    assert adata.obs[f"{KEY}_outlier"].mean() < 0.6


def test_survives_writing(adata, model, tmp_path: Path):
    wi.tl.latent_edit(adata, model, AXIS, groupby="cell_type", layer_added="after", **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("genes", "by_group"):
        there = adata.uns[KEY][name]
        assert back.uns[KEY][name].astype(there.dtypes).equals(there)
    # an axis read back leads to the same place
    wi.tl.latent_edit(back, model, AXIS, key_added="again", decode=False, **QUIET)
    np.testing.assert_allclose(back.obsm["again_shift"], adata.obsm[f"{KEY}_shift"], atol=1e-6)


def test_an_axis_of_another_space(adata, model):
    adata.obsm["other"] = adata.obsm["X_wi"] + 1
    wi.tl.axis(adata, "cell_type", ("type_0", "type_1"), use_rep="other", name="other")
    with pytest.raises(ValueError, match="'other' lies in 'other', which is not this model's latent code"):
        wi.tl.latent_edit(adata, model, "other", **QUIET)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"edit": "type_0_to_type_9"}, KeyError, "neither an axis.*type_0_to_type_1.*nor an edit"),
        ({"edit": "gene_1:ko"}, ValueError, r"scwhatif\.tl\.perturb carries out others"),
        ({"edit": "z3:+1"}, ValueError, "out of range: z3"),
        ({"edit": "z1:+0"}, ValueError, "moves no cell"),
        ({"step": 0}, ValueError, "step=0"),
        ({"step": np.nan}, ValueError, "step=nan"),
        ({"cells": [True, False]}, ValueError, "one for each of the 300"),
        ({"cells": ["nobody"]}, KeyError, "nobody"),
        ({"cells": np.zeros(300, bool)}, ValueError, "names none"),
        ({"n_top": 0}, ValueError, "n_top=0"),
        ({"groupby": "typ"}, KeyError, "cell_type"),
    ],
)
def test_bad_input(adata, model, arguments: dict[str, Any], error: type, message: str):
    with pytest.raises(error, match=message):
        wi.tl.latent_edit(adata, model, **{"edit": AXIS, **arguments}, **QUIET)
    assert KEY not in adata.uns
