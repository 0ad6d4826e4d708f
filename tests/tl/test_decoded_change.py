from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scvi

import scwhatif as wi
from scwhatif._compat import seeded
from scwhatif.model._decoder import Decoder
from scwhatif.tl import _decoded_change
from scwhatif.tl._decoded_change import (
    CellContext,
    DecodedChange,
    check_readout,
    decode_change,
    decoded_readout,
    gene_table,
)
from scwhatif.tl._latent_change import CellGroups, LatentChange


@pytest.fixture(scope="module")
def trained():
    adata = wi.datasets.simulate_factors(50, 20, 3, n_cell_types=2, n_batches=2, seed=0)
    adata.obs["age"] = np.linspace(0, 1, 50)
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
    with seeded(0):
        model = scvi.model.SCVI(adata, n_latent=3, n_hidden=8)
        model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    return adata, model, Decoder.from_model(model)


def moved(model, rows: list[int]) -> LatentChange:
    z = model.get_latent_representation().astype(float)
    shift = np.zeros_like(z)
    shift[rows] = [0.5, -0.5, 1.0]
    return LatentChange(z, shift, np.zeros(len(z)), np.zeros(len(z)))


def one_by_one(adata, decoder: Decoder, z: np.ndarray, library: np.ndarray) -> np.ndarray:
    cells = zip(z, library, adata.obs["batch"], adata.obs["age"], strict=True)
    return np.concatenate(
        [decoder.decode(c, library_size=size, batch=batch, covariates={"age": age}) for c, size, batch, age in cells]
    )


@pytest.mark.parametrize("entries", [20 * 7, 10**6])
def test_every_cell_is_decoded_as_itself(trained, entries: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_decoded_change, "_BLOCK_ENTRIES", entries)
    adata, model, decoder = trained
    change = moved(model, [3, 17, 40])
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    groups = CellGroups.read(adata, "cell_type")
    context = CellContext.read(adata, model, decoder)
    np.testing.assert_allclose(context.library, total)
    found = decode_change(decoder, context, change, groups, keep_cells=True)
    before = one_by_one(adata, decoder, change.z, total)
    after = one_by_one(adata, decoder, change.z + change.shift, total)
    np.testing.assert_allclose(found.cells, after, rtol=1e-4)
    for i, mask in enumerate([np.ones(50, bool), *(adata.obs["cell_type"] == name for name in groups.names[1:])]):
        np.testing.assert_allclose(found.before[i], before[mask].mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(found.after[i], after[mask].mean(axis=0), rtol=1e-4)
    assert found.pseudo_count == pytest.approx(1e-4 * total.mean())


def test_a_new_library_scales_cells_that_did_not_move(trained):
    adata, model, decoder = trained
    context = CellContext.read(adata, model, decoder)
    groups = CellGroups.read(adata, None)
    found = decode_change(decoder, context, moved(model, []), groups, new_library=2 * context.library)
    np.testing.assert_allclose(found.after, 2 * found.before, rtol=1e-5)
    assert found.cells is None


def test_size_factors_and_continuous_features():
    adata = wi.datasets.simulate_factors(40, 20, 3, seed=0)
    adata.obs["size"] = np.linspace(1, 2, 40)
    wi.model.BetaLinearSCVI.setup_anndata(adata, size_factor_key="size")
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, seed=0)
    decoder = Decoder.from_model(model)
    context = CellContext.read(adata, model, decoder)
    np.testing.assert_allclose(context.library, adata.obs["size"])
    with pytest.raises(ValueError, match=r"library='perturbed'.*size factors"):
        decoded_readout(
            adata,
            model,
            decoder,
            LatentChange(np.zeros((40, 2)), np.ones((40, 2)), np.zeros(40), np.zeros(40)),
            CellGroups.read(adata, None),
            columns=np.array([], dtype=int),
            new_total=np.ones(40),
            n_top=1,
            keep_cells=False,
        )
    signed = wi.datasets.simulate_factors(40, 20, 3, likelihood="normal")
    wi.model.BetaLinearSCVI.setup_anndata(signed)
    model = wi.model.BetaLinearSCVI(signed, n_latent=2, gene_likelihood="normal", seed=0)
    assert (CellContext.read(signed, model, Decoder.from_model(model)).library == 1).all()


def test_edited_features_are_listed_apart():
    before = np.array([[10.0, 10, 10, 10, 10], [5, 5, 5, 5, 5]])
    after = np.array([[0.0, 20, 11, 10, 40], [5, 5, 4, 5, 5]])
    groups = CellGroups(["all", "a"], np.zeros(3, dtype=np.int64), 3)
    names = pd.Index(list("vwxyz"))
    table = gene_table(DecodedChange(before, after, None, 1.0), groups, names, np.array([0, 4]), 2)
    assert table["gene"].tolist() == ["w", "x", "v", "z", "x", "w", "v", "z"]
    assert table["edited"].tolist() == [False, False, True, True] * 2
    assert table["group"].tolist() == ["all"] * 4 + ["a"] * 4
    np.testing.assert_allclose(table["log2_fold_change"][:3], np.log2([21 / 11, 12 / 11, 1 / 11]))
    continuous = gene_table(DecodedChange(before, after, None, None), groups, names, np.array([], dtype=int), 1)
    assert continuous["gene"].tolist() == ["z", "x"]
    assert continuous["difference"].tolist() == [30.0, -1.0]


def test_settings():
    check_readout(1, decode=False, layer_added=None)
    with pytest.raises(ValueError, match="n_top=0"):
        check_readout(0, decode=True, layer_added=None)
    with pytest.raises(ValueError, match="layer_added='x' holds decoded features"):
        check_readout(1, decode=False, layer_added="x")
