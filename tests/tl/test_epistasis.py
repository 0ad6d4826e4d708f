"""Tests of the epistasis of pairs of genes: exact, zero where it must be, and safe to write to a file."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from scvi.model import SCVI

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

GENES = ["gene_7", "gene_3", "gene_20", "gene_31"]


def fit(adata: AnnData, **kwargs: Any) -> SCVI:
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, **{"n_latent": 4, "n_hidden": 16, **kwargs})
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def fitted() -> tuple[AnnData, SCVI]:
    adata = wi.datasets.simulate_factors(80, 40, 3, library_size=60, seed=0)
    return adata, fit(adata)


@pytest.fixture
def adata(fitted: tuple[AnnData, SCVI]) -> AnnData:
    return fitted[0].copy()


@pytest.fixture
def model(fitted: tuple[AnnData, SCVI]) -> SCVI:
    return fitted[1]


def run(adata: AnnData, model: Any, genes: Any = GENES, **kwargs: Any) -> pd.DataFrame:
    wi.tl.epistasis(adata, model, genes, progress=False, **kwargs)
    return adata.uns[kwargs.get("key_added", "epistasis")]["pairs"]


@pytest.mark.parametrize("options", [{}, {"n_layers": 2}])
def test_equals_encoding_the_cells_anew(options: dict[str, Any]):
    adata = wi.datasets.simulate_factors(80, 40, 3, library_size=60, seed=0)
    model = fit(adata, **options)
    table = run(adata, model, min_cells=1).astype({"gene_a": str, "gene_b": str}).set_index(["gene_a", "gene_b"])
    mean, var = (each.astype(np.float64) for each in model.get_latent_representation(return_dist=True))
    x = adata.X.toarray()

    def shift(genes: list[str]) -> np.ndarray:
        other = adata.copy()
        dense = x.copy()
        dense[:, adata.var_names.get_indexer(genes)] = 0
        other.X = dense
        return model.get_latent_representation(other).astype(np.float64) - mean

    found = adata.varp["epistasis"].toarray()
    np.testing.assert_array_equal(found, found.T)
    for g, h in combinations(sorted(GENES, key=list(adata.var_names).index), 2):
        at = adata.var_names.get_indexer([g, h])
        both = (x[:, at] > 0).all(axis=1)
        together, additive = shift([g, h]), shift([g]) + shift([h])
        excess, joint, summed = (
            np.sqrt((each**2 / var).sum(axis=1)) for each in (together - additive, together, additive)
        )
        assert excess[~both].max() < 1e-4
        row = table.loc[(g, h)]
        assert row["n_cells"] == both.sum()
        assert row["epistasis"] == pytest.approx(excess[both].mean(), abs=1e-5)
        assert row["together"] == pytest.approx(joint[both].mean(), abs=1e-5)
        assert row["additive"] == pytest.approx(summed[both].mean(), abs=1e-5)
        assert row["synergy"] == pytest.approx(joint[both].sum() / summed[both].sum() - 1, abs=1e-4)
        assert found[tuple(at)] == pytest.approx(row["epistasis"], rel=1e-6)
    others = ~adata.var_names.isin(GENES)
    assert not found[others].any()
    assert not np.diag(found).any()


def test_all_genes_and_the_largest_first(adata: AnnData, model: SCVI):
    table = run(adata, model, None, min_cells=5, n_top=30)
    assert len(table) == 30
    assert table["epistasis"].is_monotonic_decreasing
    assert (table["n_cells"] >= 5).all()
    expressed = (adata.X.toarray() > 0).astype(int)
    together = expressed.T @ expressed
    np.fill_diagonal(together, 0)
    np.testing.assert_array_equal(adata.varp["epistasis"].toarray() > 0, together >= 5)
    assert adata.uns["epistasis"]["params"]["n_pairs"] == (together >= 5).sum() // 2
    assert table["epistasis"].iloc[0] == pytest.approx(adata.varp["epistasis"].max())
    # the same pair, whoever else is asked for
    some = adata.copy()
    few = run(some, model, min_cells=5)
    at = adata.var_names.get_indexer([few["gene_a"].iloc[0], few["gene_b"].iloc[0]])
    assert adata.varp["epistasis"][at[0], at[1]] == pytest.approx(few["epistasis"].iloc[0], rel=1e-4)


def test_a_planted_gate_ranks_first(adata: AnnData):
    model = fit(adata, use_batch_norm="none")
    encoder = model.module.z_encoder
    with torch.no_grad():
        layer = encoder.encoder.fc_layers[0][0]
        # one unit fires only when both genes are there, and the latent code reads it
        layer.weight[0] = 0
        layer.weight[0, [3, 7]] = 1.0
        layer.bias[0] = -0.7
        encoder.mean_encoder.weight[:, 0] = 5.0
    table = run(adata, model, None, min_cells=3)
    assert {table["gene_a"].iloc[0], table["gene_b"].iloc[0]} == {"gene_3", "gene_7"}
    # either loss closes the gate, so both do less than their sum
    assert table["synergy"].iloc[0] < -0.1


def test_survives_a_file(adata: AnnData, model: SCVI, tmp_path: Path):
    import anndata as ad

    run(adata, model, key_added="mine", min_cells=2, op="x0.5")
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.uns["mine"]["pairs"], adata.uns["mine"]["pairs"])
    assert (back.varp["mine"] != adata.varp["mine"]).nnz == 0
    params = back.uns["mine"]["params"]
    assert list(params["genes"]) == ["gene_3", "gene_7", "gene_20", "gene_31"]
    assert params["op"] == "x0.5"
    assert params["plan"] == "row-update"


def test_pairs_in_too_few_cells_are_empty(adata: AnnData, model: SCVI):
    table = run(adata, model, min_cells=81)
    assert len(table) == 0
    assert list(table.columns) == ["gene_a", "gene_b", "n_cells", "epistasis", "together", "additive", "synergy"]
    assert adata.varp["epistasis"].nnz == 0


def test_copy_leaves_the_original_alone(adata: AnnData, model: SCVI):
    out = wi.tl.epistasis(adata, model, GENES, progress=False, copy=True)
    assert "epistasis" in out.varp
    assert "epistasis" not in adata.varp
    assert "epistasis" not in adata.uns


def test_bad_input(adata: AnnData, model: SCVI, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(KeyError, match="gene_99999"):
        run(adata, model, ["gene_1", "gene_99999"])
    with pytest.raises(ValueError, match=r"1 gene\(s\) cannot be paired"):
        run(adata, model, ["gene_1"])
    with pytest.raises(ValueError, match="genes is empty"):
        run(adata, model, [])
    monkeypatch.setattr("scwhatif.tl._epistasis._MAX_GENES", 39)
    with pytest.raises(ValueError, match=r"40 gene\(s\) cannot be paired; name 2 to 39"):
        run(adata, model, None)
    for name in ("min_cells", "n_top"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            run(adata, model, **{name: 0})
    with pytest.raises(ValueError, match="op="):
        run(adata, model, op="hide")
    with pytest.raises(ValueError, match="another order"):
        run(adata[:, ::-1].copy(), model)
    assert "epistasis" not in adata.varp
