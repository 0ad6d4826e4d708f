"""Tests of what targets and references mean in numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from anndata import AnnData
from sklearn.covariance import ledoit_wolf

import scwhatif as wi
from scwhatif.tl._readout_target import readout_target, reference_state, state_members

N, L = 90, 4


@pytest.fixture
def adata() -> AnnData:
    rng = np.random.default_rng(0)
    adata = AnnData(np.zeros((N, 1), np.float32))
    adata.obs["state"] = np.repeat(["a", "b", "c"], N // 3)
    z = rng.normal(size=(N, L)) + np.repeat(rng.normal(size=(3, L)), N // 3, axis=0)
    adata.obsm["X_wi"] = z
    wi.tl.axis(adata, "state", ("a", "b"))
    return adata


def read(readout, z: np.ndarray) -> np.ndarray:
    return readout(torch.from_numpy(np.asarray(z, dtype=np.float64))).numpy()


def test_an_axis_is_read_as_positions_along_it(adata: AnnData):
    z = adata.obsm["X_wi"]
    found = readout_target(adata, z, "a_to_b", "axis")
    assert found.name == "a_to_b"
    np.testing.assert_allclose(read(found.readout, z), adata.obs["axis_a_to_b"])


def test_a_dimension_is_read_as_it_is(adata: AnnData):
    z = adata.obsm["X_wi"]
    np.testing.assert_array_equal(read(readout_target(adata, z, "z2", "axis").readout, z), z[:, 2])


def test_a_state_is_read_from_all_others_to_its_own(adata: AnnData):
    z = adata.obsm["X_wi"]
    found = readout_target(adata, z, ("state", "b"), "axis")
    value = read(found.readout, z)
    inside = (adata.obs["state"] == "b").to_numpy()
    assert found.name == "state: b"
    assert value[inside].mean() == pytest.approx(1)
    assert value[~inside].mean() == pytest.approx(0)
    # nothing across the line counts
    way = z[inside].mean(0) - z[~inside].mean(0)
    across = np.linalg.svd(way[None])[2][1:]
    np.testing.assert_allclose(across @ found.readout.vector, 0, atol=1e-12)


def test_distance_from_a_state(adata: AnnData):
    z = adata.obsm["X_wi"]
    found = reference_state(adata, z, ("state", "c"), "axis")
    means = {name: z[(adata.obs["state"] == name).to_numpy()].mean(0) for name in "abc"}
    residual = z - np.array([means[name] for name in adata.obs["state"]])
    precision = np.linalg.inv(ledoit_wolf(residual, assume_centered=True)[0])
    off = z - means["c"]
    np.testing.assert_allclose(read(found.readout, z), np.sqrt(np.einsum("ij,jk,ik->i", off, precision, off)))
    np.testing.assert_array_equal(found.members, adata.obs["state"] == "c")
    np.testing.assert_array_equal(found.others, ~found.members)


def test_distance_along_an_axis(adata: AnnData):
    z = adata.obsm["X_wi"]
    found = reference_state(adata, z, "a_to_b", "axis")
    np.testing.assert_allclose(read(found.readout, z), 1 - adata.obs["axis_a_to_b"])
    np.testing.assert_array_equal(found.others, adata.obs["state"] == "a")
    np.testing.assert_array_equal(found.members, adata.obs["state"] == "b")


def test_bad_input(adata: AnnData):
    z = adata.obsm["X_wi"]
    for target in ("b_to_a", "z4", "z-1", "zebra"):
        with pytest.raises(KeyError, match=r"neither an axis.*'a_to_b'.*'z0' to 'z3'"):
            readout_target(adata, z, target, "axis")
    with pytest.raises(KeyError, match=r"not an axis in adata.uns\['axis'\]"):
        reference_state(adata, z, "z1", "axis")
    with pytest.raises(KeyError, match=r"has no 'd'; it holds \['a', 'b', 'c'\]"):
        state_members(adata, ("state", "d"), "target")
    with pytest.raises(KeyError, match="Did you mean 'state'"):
        state_members(adata, ("stat", "a"), "within")
    with pytest.raises(ValueError, match="must name a column"):
        state_members(adata, ("state",), "target")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not this model's latent code"):
        readout_target(adata, z + 1, "a_to_b", "axis")
    with pytest.raises(ValueError, match="mean code of this state is that of all other"):
        readout_target(adata, np.ones((N, L)), ("state", "a"), "axis")
