from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
import scvi

import scwhatif as wi
from scwhatif.tl import _latent_state as latent


def test_dimensions_by_name_and_by_number():
    assert latent.dimension_positions("z3", 5, "dims") == [3]
    assert latent.dimension_positions(np.int64(3), 5, "dims") == [3]
    assert latent.dimension_positions(["z1", 0, 1], 5, "dims") == [1, 0]


@pytest.mark.parametrize("dim", ["z5", 5, -1, "y0", "z01"])
def test_unknown_dimensions(dim: str | int):
    with pytest.raises(KeyError, match=r"neutral=.* has 'z0' to 'z4'"):
        latent.dimension_positions(dim, 5, "neutral")


def test_neutral_dimensions():
    assert latent.neutral_positions(None, [0], 3) == []
    assert latent.neutral_positions(["z2"], [0], 3) == [2]
    with pytest.raises(ValueError, match="z0: a dimension cannot be both moved and neutral"):
        latent.neutral_positions([0, 2], [0, 1], 3)


def test_reference_code():
    z = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    np.testing.assert_array_equal(latent.reference_code(z, "mean", [1]), [2.0, 0.0, 4.0])
    np.testing.assert_array_equal(latent.reference_code(z, "zero", []), np.zeros(3))
    np.testing.assert_array_equal(z[:, 1], [2.0, 4.0])


@pytest.mark.parametrize("entries", [1, 8, 1000])
def test_mean_decoded_does_not_depend_on_the_blocks(entries: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latent, "_BLOCK_ENTRIES", entries)
    codes = np.random.default_rng(0).normal(size=(11, 4))
    np.testing.assert_allclose(latent.mean_decoded(lambda z: pd.DataFrame(np.exp(z)), codes, 4), np.exp(codes).mean(0))


def test_change():
    a, b = np.array([3.0, 0.0]), np.array([1.0, 0.0])
    assert latent.change_name(None) == "difference"
    np.testing.assert_array_equal(latent.change(a, b, None), [2.0, 0.0])
    assert latent.change_name(1.0) == "log2_fold_change"
    np.testing.assert_allclose(latent.change(a, b, 1.0), [1.0, 0.0])


def test_decoders_are_for_the_data_they_are_given():
    adata = wi.datasets.simulate_factors(40, 20, 3, seed=0)
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=2, n_hidden=4)
    decoder = latent.checked_decoder(adata, model)
    assert latent.fold_pseudo_count(decoder, 1e4) == 1.0
    with pytest.raises(ValueError, match="lacks 1 of the 20 features"):
        latent.checked_decoder(adata[:, 1:].copy(), model)
    with pytest.raises(TypeError, match=r"adata is a MuData.*scwhatif\.tl\.decode"):
        latent.checked_decoder(mudata.MuData({"rna": adata}), model)
    with pytest.raises(ValueError, match="reference='median'"):
        latent.check_decodable(adata, model, reference="median", library_size=1.0)
    with pytest.raises(ValueError, match="library_size=-1"):
        latent.check_decodable(adata, model, reference="mean", library_size=-1)
