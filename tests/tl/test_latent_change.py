from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import special_ortho_group
from torch.distributions import Normal, kl_divergence

from scwhatif.tl._edited_cells import EditedCells
from scwhatif.tl._gaussian_posterior import FactorisedPosterior
from scwhatif.tl._latent_change import CellGroups, LatentChange, latent_change, write_change


def posterior(n: int = 20, n_latent: int = 3, seed: int = 0) -> FactorisedPosterior:
    rng = np.random.default_rng(seed)
    rotation = special_ortho_group.rvs(n_latent, random_state=seed)
    return FactorisedPosterior(rng.normal(size=(n, n_latent)), rng.uniform(0.1, 1, size=(n, n_latent)), rotation)


def edited(known: FactorisedPosterior, rows: list[int]) -> EditedCells:
    rng = np.random.default_rng(1)
    mean, var = known.mean[rows], known.var[rows]
    new_mean, new_var = mean + rng.normal(size=mean.shape), var * rng.uniform(0.5, 2, size=var.shape)
    nothing = np.zeros(len(known.mean))
    return EditedCells(np.array(rows), mean, var, new_mean, new_var, nothing, nothing, "general")


def test_edited_cells_in_all_units():
    known = posterior()
    cells = edited(known, [2, 5])
    change = latent_change(known, cells, lambda z: z)
    np.testing.assert_allclose(change.z, known.mean @ known.rotation)
    np.testing.assert_allclose(change.shift[[2, 5]], (cells.new_mean - cells.mean) @ known.rotation)
    np.testing.assert_allclose(
        change.distance[[2, 5]], np.linalg.norm((cells.new_mean - cells.mean) / np.sqrt(cells.var), axis=1)
    )
    new, old = (
        Normal(torch.tensor(mean), torch.tensor(var).sqrt())
        for mean, var in ((cells.new_mean, cells.new_var), (cells.mean, cells.var))
    )
    np.testing.assert_allclose(change.kl[[2, 5]], kl_divergence(new, old).sum(1))
    rest = ~np.isin(np.arange(20), [2, 5])
    for values in (change.shift, change.distance, change.kl):
        assert not values[rest].any()
    assert change.changed.tolist() == (~rest).tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.floats(-3, 3))
def test_moves_of_the_code_do_not_change_its_variance(seed: int, by: float):
    known = posterior(seed=seed)
    added = np.array([by, 0, 0])
    change = latent_change(known, None, lambda z: z + added)
    np.testing.assert_allclose(change.shift, np.tile(added, (20, 1)), atol=1e-12)
    np.testing.assert_allclose(change.kl, 0.5 * change.distance**2, atol=1e-12)
    covariance = np.einsum("ji,nj,jk->nik", known.rotation, known.var, known.rotation)
    expected = np.sqrt(by**2 * np.linalg.inv(covariance)[:, 0, 0])
    np.testing.assert_allclose(change.distance, expected, rtol=1e-8, atol=1e-12)


def test_features_first_then_the_code():
    known = posterior()
    cells = edited(known, [4])
    change = latent_change(known, cells, lambda z: 2 * z)
    reported = known.mean @ known.rotation
    np.testing.assert_allclose(change.shift[4], 2 * (cells.new_mean[0] @ known.rotation) - reported[4])
    np.testing.assert_allclose(change.shift[5], reported[5])


def test_groups_of_cells():
    obs = pd.DataFrame({"type": ["b", "a", "b", "a", "b"], "odd": ["all", "x", "all", "x", "x"]}, index=list("vwxyz"))
    adata = AnnData(obs=obs)
    groups = CellGroups.read(adata, "type")
    assert groups.names == ["all", "a", "b"]
    assert groups.sizes.tolist() == [5, 2, 3]
    values = np.arange(5.0)[:, None]
    assert groups.sums(values)[:, 0].tolist() == [10, 4, 6]
    assert groups.sums(values[1:3], slice(1, 3))[:, 0].tolist() == [3, 1, 2]
    assert CellGroups.read(adata, None).sums(values).tolist() == [[10]]
    with pytest.raises(ValueError, match="group called 'all'"):
        CellGroups.read(adata, "odd")


def test_what_is_written():
    rng = np.random.default_rng(0)
    z, shift = rng.normal(size=(200, 2)), np.zeros((200, 2))
    shift[:10, 0] = 20.0
    shift[10:30, 0] = 0.01
    adata = AnnData(obs=pd.DataFrame({"type": ["a"] * 20 + ["b"] * 180}, index=[str(i) for i in range(200)]))
    change = LatentChange(z, shift, np.abs(shift[:, 0]) * 3, np.abs(shift[:, 0]))
    table, measured = write_change(adata, "x", change, CellGroups.read(adata, "type"), seed=0)
    assert adata.obsm["x_shift"].dtype == np.float32
    np.testing.assert_allclose(adata.obs["x_norm"], shift[:, 0])
    assert adata.obs["x_outlier"][:10].all()
    assert adata.obs["x_outlier"].sum() <= 12
    assert measured["outlier_threshold"] > 0
    assert table["group"].tolist() == ["all", "a", "b"]
    assert table["n_changed"].tolist() == [30, 20, 10]
    np.testing.assert_allclose(table["shift_norm"], [200.2 / 200, 200.1 / 20, 0.1 / 180])
    np.testing.assert_allclose(table["distance"], 3 * np.array([200.2 / 30, 200.1 / 20, 0.01]))
    np.testing.assert_allclose(table["kl"], table["distance"] / 3)
    assert table["outlier_share"].iloc[1] >= 0.5
    assert table["outlier_share_before"].iloc[1] <= 0.1
