from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
import scvi
from scipy import sparse

import scwhatif as wi
from scwhatif._compat import seeded
from scwhatif.tl import _edited_cells
from scwhatif.tl._edited_cells import check_changed, encode_edited

if TYPE_CHECKING:
    from pathlib import Path

SPEC = wi.Perturbation.parse("{gene_0,gene_3}:ko + gene_5:x3 + gene_7:+2")


def fitted(model_class: type = wi.model.BetaLinearSCVI, **arguments):
    adata = wi.datasets.simulate_factors(60, 20, 3, n_batches=2, seed=0)
    adata.layers["raw"] = sparse.csr_matrix(adata.X)
    model_class.setup_anndata(adata, layer="raw", batch_key="batch")
    with seeded(0):
        model = model_class(adata, n_latent=3, n_hidden=8, **arguments)
        model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    return adata, model


@pytest.fixture(scope="module")
def trained():
    return fitted(seed=0)


def by_hand(adata, spec, library: str) -> np.ndarray:
    raw = adata.layers["raw"].toarray().astype(float)
    edited = spec.apply_features(raw, adata.var_names)
    return edited * (raw.sum(1) / edited.sum(1))[:, None] if library == "renorm" else edited


@pytest.mark.parametrize("model_class", [wi.model.BetaLinearSCVI, scvi.model.SCVI])
@pytest.mark.parametrize("library", ["original", "renorm"])
def test_equals_encoding_the_edited_data(model_class: type, library: str):
    adata, model = fitted(model_class)
    found = encode_edited(adata, model, SPEC, library=library, seed=0)
    other = adata.copy()
    other.layers["raw"] = sparse.csr_matrix(by_hand(adata, SPEC, library).astype(np.float32))
    difference = model.get_latent_representation(other) - model.get_latent_representation(adata)
    rotation = model.module.rotation.numpy() if hasattr(model.module, "rotation") else np.eye(3)
    np.testing.assert_allclose((found.new_mean - found.mean) @ rotation, difference[found.rows], atol=1e-5)
    np.testing.assert_allclose(found.total, by_hand(adata, wi.Perturbation(), "original").sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.new_total, by_hand(adata, SPEC, library).sum(axis=1), rtol=1e-5)


def test_only_cells_that_change_are_encoded(trained):
    adata, model = trained
    spec = wi.Perturbation.parse("gene_4:ko")
    found = encode_edited(adata, model, spec, library="original", seed=0)
    assert found.rows.tolist() == np.flatnonzero(adata.layers["raw"][:, [4]].toarray()).tolist()


@pytest.mark.parametrize("entries", [20, 20 * 7, 10**6])
def test_neither_chunks_nor_formats_matter(trained, entries: int, monkeypatch: pytest.MonkeyPatch):
    adata, model = trained
    spec = wi.Perturbation.parse("gene_1:thin0.5 + gene_2:x2")
    whole = encode_edited(adata, model, spec, library="renorm", seed=3)
    monkeypatch.setattr(_edited_cells, "_BLOCK_ENTRIES", entries)
    for form in (sparse.csr_matrix, sparse.csc_matrix, lambda x: x.toarray()):
        other = adata.copy()
        other.layers["raw"] = form(adata.layers["raw"])
        found = encode_edited(other, model, spec, library="renorm", seed=3)
        np.testing.assert_array_equal(found.rows, whole.rows)
        np.testing.assert_allclose(found.new_mean, whole.new_mean, atol=1e-5)


def test_data_on_disk_are_read_once(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    adata, model = trained
    spec = wi.Perturbation.parse("gene_1:thin0.5 + gene_2:x2")
    whole = encode_edited(adata, model, spec, library="renorm", seed=3)
    other = adata.copy()
    other.X = sparse.csc_matrix(adata.layers["raw"])
    del other.layers["raw"]
    other.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    reads = []
    to_memory = type(backed.X).to_memory
    monkeypatch.setattr(type(backed.X), "to_memory", lambda self: reads.append(1) or to_memory(self))
    monkeypatch.setattr(_edited_cells, "_BLOCK_ENTRIES", 140)
    source = _edited_cells.encoder_source(adata, model)
    monkeypatch.setattr(_edited_cells, "encoder_source", lambda *_: replace(source, x=backed.X))
    found = encode_edited(adata, model, spec, library="renorm", seed=3)
    np.testing.assert_array_equal(found.rows, whole.rows)
    np.testing.assert_array_equal(found.total, whole.total)
    np.testing.assert_allclose(found.new_mean, whole.new_mean, atol=1e-5)
    assert len(reads) == 1


@pytest.mark.parametrize("library", ["original", "renorm"])
def test_draws_are_those_of_a_screen(trained, library: str):
    adata, model = trained
    text = "{gene_1,gene_6}:thin0.5 + gene_2:x2"
    found = encode_edited(adata, model, wi.Perturbation.parse(text), library=library, seed=4)
    wi.tl.screen(adata, model, ["gene_8:thin0.1", text], library=library, n_null=0, seed=4, progress=False)
    rotation = model.module.rotation.numpy()
    wanted = (found.new_mean - found.mean).sum(axis=0) @ rotation / adata.n_obs
    np.testing.assert_allclose(adata.uns["screen"]["shift"][1], wanted, atol=1e-6)
    assert adata.uns["screen"]["by_group"]["n_cells"].tolist()[1] == len(found.rows)


def test_the_seed_thins(trained):
    adata, model = trained
    spec = wi.Perturbation.parse("gene_1:thin0.5")
    first, again, other = (encode_edited(adata, model, spec, library="original", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.new_total, again.new_total)
    assert (first.new_total != other.new_total).any()


def test_a_cell_without_counts_is_left_without_any(trained):
    adata, model = trained
    every = wi.Perturbation.knockout(list(adata.var_names))
    found = encode_edited(adata, model, every, library="renorm", seed=0)
    assert not found.new_total.any()
    assert np.isfinite(found.new_mean).all()


def test_data_are_left_alone(trained):
    adata, model = trained
    before = adata.layers["raw"].copy()
    encode_edited(adata, model, SPEC, library="renorm", seed=0)
    assert (before != adata.layers["raw"]).nnz == 0


def test_what_changes_nothing_is_named(trained):
    adata, model = trained
    silent = adata.copy()
    raw = silent.layers["raw"].toarray()
    raw[:, 3] = 0
    silent.layers["raw"] = sparse.csr_matrix(raw)
    spec = wi.Perturbation.parse("gene_3:ko")
    found = encode_edited(silent, model, spec, library="original", seed=0)
    assert (len(found.rows), found.new_mean.shape) == (0, (0, 3))
    with pytest.raises(ValueError, match="gene_3:ko changes no cell: 'gene_3' already has that value"):
        check_changed(found, spec)
    check_changed(encode_edited(adata, model, spec, library="original", seed=0), spec)
    with pytest.raises(KeyError, match="gene_99"):
        encode_edited(adata, model, wi.Perturbation.parse("gene_99:ko"), library="original", seed=0)


def test_continuous_features_have_no_totals():
    adata = wi.datasets.simulate_factors(60, 20, 2, n_cell_types=2, likelihood="normal")
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood="normal", seed=0)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    with pytest.raises(ValueError, match="features are continuous"):
        encode_edited(adata, model, wi.Perturbation.parse("gene_1:-5"), library="renorm", seed=0)
    found = encode_edited(adata, model, wi.Perturbation.parse("gene_1:-5"), library="original", seed=0)
    np.testing.assert_allclose(found.new_total - found.total, -5, atol=1e-4)


def test_minified_data_say_how_to_attach_counts(trained):
    adata, model = trained
    small = adata.copy()
    small.uns["_scvi_adata_minify_type"] = "latent_posterior_parameters"
    with pytest.raises(ValueError, match=r"BetaLinearSCVI\.load\(folder, adata=adata_with_counts\)"):
        encode_edited(small, model, SPEC, library="original", seed=0)
