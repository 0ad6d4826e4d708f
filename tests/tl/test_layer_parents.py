"""Tests of the regression of sites on the proteins of their own gene."""

from __future__ import annotations

import mudata as md
import numpy as np
import pytest
from anndata import AnnData

import scwhatif as wi
from scwhatif._mudata import without_pulling
from scwhatif.tl._fold_models import FoldModel
from scwhatif.tl._layer_parents import parent_names, parent_prediction

N = 80


def build() -> md.MuData:
    """Sites of gene a follow protein a; two more share both proteins of gene b, or have none."""
    rng = np.random.default_rng(0)
    protein = rng.normal(size=(N, 3))
    noise = 0.3 * rng.normal(size=(N, 3))
    site = np.stack([2 * protein[:, 0], protein[:, 1] - protein[:, 2], np.zeros(N)], axis=1) + noise
    protein[:20, 0] = np.nan
    layers = {
        "protein": AnnData(protein.astype(np.float32)),
        "ptm": AnnData(site.astype(np.float32)),
        "rna": AnnData(rng.normal(size=(N, 4)).astype(np.float32)),
    }
    layers["protein"].var_names = ["pa", "pb1", "pb2"]
    layers["protein"].var["gene_symbol"] = ["a", "b", "b"]
    layers["ptm"].var_names = ["site_a", "site_b", "site_c"]
    layers["rna"].var_names = ["g0", "g1", "g2", "g3"]
    layers["ptm"].var["gene_symbol"] = ["a", "b", "c"]
    with without_pulling():
        return md.MuData(layers)


def fitted(mdata: md.MuData) -> wi.model.MultiOmicLPM:
    wi.model.MultiOmicLPM.setup_mudata(mdata, drivers=None, rna="rna", protein="protein", ptm=["ptm"])
    model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4)
    model.train(1, external_indexing=[range(50), range(50, 60), range(60, N)], enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def model():
    return fitted(build())


def test_follows_the_parents_and_knows_where_there_are_none(model):
    rows = np.arange(N)
    predicted, known = parent_prediction(FoldModel(model, rows), model.adata, "ptm", parent="protein")
    np.testing.assert_array_equal(known[:, 0], rows >= 20)
    assert known[:, 1].all()
    assert not known[:, 2].any()
    x, y = model.adata["protein"].X, model.adata["ptm"].X
    training = np.arange(20, 60)
    slope, intercept = np.polyfit(x[training, 0], y[training, 0], 1)
    mean = y[:50, 0].mean()
    np.testing.assert_allclose(predicted[20:, 0], intercept + slope * x[20:, 0] - mean, atol=0.05)
    test = slice(60, N)
    left = y[test, 1] - y[:50, 1].mean() - predicted[test, 1]
    assert np.var(left) < 0.1 * np.var(y[test, 1])


def test_test_samples_do_not_enter_the_regression(model):
    other = build()
    other["ptm"].X[60:] = 1e3 * np.random.default_rng(1).normal(size=(20, 3))
    again = fitted(other)
    rows = np.arange(60)
    first, _ = parent_prediction(FoldModel(model, rows), model.adata, "ptm", parent="protein")
    second, _ = parent_prediction(FoldModel(again, rows), again.adata, "ptm", parent="protein")
    np.testing.assert_array_equal(first, second)


def test_names_of_parents(model):
    assert parent_names(model, "ptm", "protein") == ["pa", "pb1;pb2", ""]
    assert parent_names(model, "ptm", None) == [""] * 3
