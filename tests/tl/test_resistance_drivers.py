"""Tests of genes on top of an inhibition: exact, additive where the encoder is, and finding a planted backup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from anndata import AnnData
from scipy import sparse

import scwhatif as wi
from scwhatif.model import BetaLinearSCVI
from scwhatif.tl._readout_target import reference_state

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def fitted() -> tuple[AnnData, BetaLinearSCVI]:
    adata = wi.datasets.simulate_factors(120, 60, 3, n_cell_types=3, library_size=150, seed=0)
    adata.obs["donor"] = np.tile(["d0", "d1", "d2", "d3"], 30)
    BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = BetaLinearSCVI(adata, n_latent=4, n_hidden=16, seed=0)
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    adata.obsm["X_wi"] = model.get_latent_representation()
    wi.tl.axis(adata, "cell_type", ("type_1", "type_0"))
    return adata, model


@pytest.fixture
def adata(fitted: tuple[AnnData, BetaLinearSCVI]) -> AnnData:
    return fitted[0].copy()


@pytest.fixture
def model(fitted: tuple[AnnData, BetaLinearSCVI]) -> BetaLinearSCVI:
    return fitted[1]


STATE = ("cell_type", "type_0")


def run(adata: AnnData, model: Any, inhibited: Any = ("gene_3",), **kwargs: Any) -> pd.DataFrame:
    """The table, indexed by group and gene."""
    settings = {"reference": STATE, "progress": False, "min_cells": 1, "max_set": 0} | kwargs
    wi.tl.resistance_drivers(adata, model, inhibited, **settings)
    table = adata.uns[kwargs.get("key_added", "resistance_drivers")]["table"]
    return table.astype({"group": str, "gene": str}).set_index(["group", "gene"])


def distances(adata: AnnData, model: Any, reference: Any, factors: dict[int, float]) -> np.ndarray:
    """Of every cell after its genes were multiplied, the slow way."""
    z = np.asarray(model.get_latent_representation(), dtype=np.float64)
    state = reference_state(adata, z, reference, "axis")
    changed = adata.copy()
    x = changed.X.toarray()
    for gene, factor in factors.items():
        x[:, gene] *= factor
    changed.X = sparse.csr_matrix(x)
    moved = np.asarray(model.get_latent_representation(changed), dtype=np.float64)
    return state.readout(torch.from_numpy(moved)).numpy()


@pytest.mark.parametrize("reference", [STATE, "type_1_to_type_0"])
def test_equals_encoding_the_cells_anew(adata: AnnData, model: BetaLinearSCVI, reference: Any):
    found = run(adata, model, "gene_3:ko + gene_8:x0.5", reference=reference, groupby="batch", n_null=0)
    followed = adata.obs["cell_type"] == "type_1" if isinstance(reference, str) else adata.obs["cell_type"] != "type_0"
    base = {3: 0.0, 8: 0.5}
    before, inhibited = (distances(adata, model, reference, each) for each in ({}, base))
    for gene in (0, 7, 41):
        single, both = (distances(adata, model, reference, {**each, gene: 0.0}) for each in ({}, base))
        for group in ("all", "batch_1"):
            cells = (followed & ((adata.obs["batch"] == group) | (group == "all"))).to_numpy()
            row = found.loc[(group, adata.var_names[gene])]
            assert row["single"] == pytest.approx((single - before)[cells].mean(), abs=1e-4)
            assert row["after"] == pytest.approx((both - inhibited)[cells].mean(), abs=1e-4)
            assert row["synergy"] == pytest.approx(row["after"] - row["single"], abs=1e-9)
            assert row["n_cells"] == (adata.X[cells][:, gene] != 0).sum()
    table = adata.uns["resistance_drivers"]["distance"].set_index("group")
    cells = followed.to_numpy()
    at_reference = (adata.obs["cell_type"] == "type_0").to_numpy()
    assert table.loc["all", "n_cells"] == cells.sum()
    assert table.loc["all", "before"] == pytest.approx(before[cells].mean(), abs=1e-4)
    assert table.loc["all", "inhibited"] == pytest.approx(inhibited[cells].mean(), abs=1e-4)
    assert table.loc["all", "reference"] == pytest.approx(before[at_reference].mean(), abs=1e-4)


def test_genes_that_nobody_expresses_do_nothing(adata: AnnData, model: BetaLinearSCVI):
    found = run(adata, model, min_cells=1, n_null=0)
    silent = found["n_cells"] == 0
    assert found.loc[silent, "after"].isna().all()
    assert len(found) == adata.n_vars - 1
    assert "gene_3" not in found.loc["all"].index
    # most negative first, not tested last
    assert found["after"].dropna().is_monotonic_increasing
    assert found["after"].isna().sum() == found["after"].isna().iloc[len(found) - silent.sum() :].sum()


def test_shapley_values_add_up(adata: AnnData, model: BetaLinearSCVI):
    found = run(adata, model, ["gene_3", "gene_8"], max_set=5, n_null=0)
    shapley = adata.uns["resistance_drivers"]["shapley"]
    coalitions = adata.uns["resistance_drivers"]["coalitions"].set_index("genes")["change"]
    assert shapley["gene"].tolist() == ["gene_3", "gene_8", *found.loc["all"].index[:3]]
    assert shapley["inhibited"].tolist() == [True, True, False, False, False]
    assert len(coalitions) == 32
    assert shapley["value"].sum() == pytest.approx(coalitions.iloc[-1], abs=1e-6)
    cells = (adata.obs["cell_type"] != "type_0").to_numpy()
    columns = adata.var_names.get_indexer(shapley["gene"])
    gone = dict.fromkeys(columns.tolist(), 0.0)
    change = (distances(adata, model, STATE, gone) - distances(adata, model, STATE, {}))[cells].mean()
    assert coalitions.iloc[-1] == pytest.approx(change, abs=1e-4)
    third = shapley["gene"].iloc[2]
    assert coalitions[third] == pytest.approx(found.loc[("all", third), "single"], abs=1e-6)
    assert coalitions[f"gene_3 + gene_8 + {third}"] - coalitions["gene_3 + gene_8"] == pytest.approx(
        found.loc[("all", third), "after"], abs=1e-6
    )
    run(adata, model, max_set=0)
    assert len(adata.uns["resistance_drivers"]["shapley"]) == 0


N_CELLS, N_GENES, DRIVER, BACKUP = 200, 80, 0, 1


def redundant() -> tuple[AnnData, Any]:
    """Cells that an encoder holds away from the reference as long as they have the driver or its backup.

    One hidden unit is active only without both, and it alone leads to the reference; all other genes are read weakly
    and additively.
    """
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(2, 2, N_GENES), (N_CELLS, N_GENES)).astype(np.float32)
    x[:, [DRIVER, BACKUP]] = rng.poisson(20, (N_CELLS, 2)) + 5
    x[: N_CELLS // 2, [DRIVER, BACKUP]] = 0
    adata = AnnData(sparse.csr_matrix(x), var=pd.DataFrame(index=[f"gene_{i}" for i in range(N_GENES)]))
    adata.obs["state"] = np.repeat(["sensitive", "resistant"], N_CELLS // 2)
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=2, n_hidden=3)
    encoder = model.module.z_encoder
    first = encoder.encoder.fc_layers[0][0]
    with torch.no_grad():
        first.weight.zero_()
        first.bias.zero_()
        # without both; and two additive readings of the others
        first.weight[0, [DRIVER, BACKUP]] = -1.0
        first.bias[0] = 1.5
        first.weight[1:, 2:] = 0.002 * torch.from_numpy(rng.normal(size=(2, N_GENES - 2)).astype(np.float32))
        first.bias[1:] = 5.0
        encoder.mean_encoder.weight.copy_(torch.tensor([[-2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
        encoder.mean_encoder.bias.zero_()
    model.is_trained_ = True
    model.module.eval()
    return adata, model


def test_a_planted_backup_ranks_first_where_singles_do_not_show_it():
    adata, model = redundant()
    found = run(adata, model, ["gene_0"], reference=("state", "sensitive"), max_set=3).loc["all"]
    backup = found.loc["gene_1"]
    assert found.index[0] == "gene_1"
    assert backup["padj"] < 1e-3
    assert backup["synergy_padj"] < 1e-3
    assert backup["single"] == pytest.approx(0, abs=1e-5)
    assert (found["single"].abs() > abs(backup["single"])).sum() > 60
    # all others do after the inhibition what they did before
    others = found.drop("gene_1")
    assert others["synergy"].abs().max() < 0.01 * abs(backup["synergy"])
    assert (others["synergy_padj"] > 0.05).all()
    shapley = adata.uns["resistance_drivers"]["shapley"].set_index("gene")["value"]
    # either suffices, so they share what they do together
    assert shapley["gene_0"] == pytest.approx(shapley["gene_1"], rel=1e-3)
    distance = adata.uns["resistance_drivers"]["distance"].iloc[0]
    assert distance["inhibited"] == pytest.approx(distance["before"], abs=1e-5)
    assert distance["inhibited"] + backup["after"] < 0.2 * distance["before"] + distance["reference"]


@pytest.mark.slow
def test_backups_of_a_simulated_network():
    adata = wi.datasets.simulate_network(1000, 300, 4, seed=0)
    BetaLinearSCVI.setup_anndata(adata)
    model = BetaLinearSCVI(adata, n_latent=10, seed=0)
    model.train(max_epochs=60, seed=0, accelerator="cpu", enable_progress_bar=False)
    for i in range(2):
        # the cell type that does without the process is where inhibiting it should lead to
        found = run(adata, model, [f"redundant_{i}a"], reference=("cell_type", f"type_{i}"), min_cells=20)
        backup = found.loc[("all", f"redundant_{i}b")]
        assert backup["after"] < backup["single"] < 0
        for column in ("after", "synergy"):
            assert (found[column] < backup[column]).sum() < 5
        assert backup["synergy_pval"] < 0.05


def test_groups_donors_and_files(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path):
    import anndata as ad

    found = run(adata, model, donor="donor", groupby="batch", within=("cell_type", "type_2"), max_set=2, key_added="rd")
    known = found[found["after"].notna()]
    assert known["low"].le(known["after"]).all()
    assert known["after"].le(known["high"]).all()
    assert adata.uns["rd"]["distance"]["n_cells"].iloc[0] == (adata.obs["cell_type"] == "type_2").sum()
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("table", "distance", "shapley", "coalitions"):
        pd.testing.assert_frame_equal(back.uns["rd"][name], adata.uns["rd"][name])
    params = back.uns["rd"]["params"]
    assert params["inhibited"] == "gene_3:ko"
    assert list(params["reference"]) == list(STATE)
    for name in ("single", "after", "synergy"):
        values = adata.var[f"rd_{name}"]
        np.testing.assert_array_equal(back.var[f"rd_{name}"], values)
        assert values.isna()["gene_3"]
        assert values["gene_5"] == found.loc[("all", "gene_5"), name]


def test_candidates_and_copies(adata: AnnData, model: BetaLinearSCVI):
    every = run(adata.copy(), model)
    some = run(adata.copy(), model, candidates=["gene_9", "gene_3", "gene_4"])
    assert len(some) == 2
    for column in ("single", "after", "pval", "synergy_pval"):
        np.testing.assert_allclose(some[column], every.loc[some.index, column], rtol=1e-6)
    out = wi.tl.resistance_drivers(adata, model, "gene_3", reference=STATE, progress=False, copy=True)
    assert "resistance_drivers" in out.uns
    assert "resistance_drivers" not in adata.uns


def test_bad_input(adata: AnnData, model: BetaLinearSCVI):
    with pytest.raises(ValueError, match="inhibited is missing; name at least one gene"):
        wi.tl.resistance_drivers(adata, model, reference=("cell_type", "type_0"))
    with pytest.raises(ValueError, match="strata='batch' does not apply to AnnData"):
        run(adata, model, strata="batch")
    with pytest.raises(TypeError, match="Several models are for MuData"):
        run(adata, [model])
    with pytest.raises(ValueError, match="inhibited is empty"):
        run(adata, model, [])
    with pytest.raises(ValueError, match="must edit genes and nothing else"):
        run(adata, model, "gene_3:ko + z1:+1")
    with pytest.raises(KeyError, match="gene_99"):
        run(adata, model, "gene_99")
    with pytest.raises(ValueError, match="all candidates are inhibited"):
        run(adata, model, candidates=["gene_3"])
    for max_set in (1, 13):
        with pytest.raises(ValueError, match=f"max_set={max_set} must be 0"):
            run(adata, model, max_set=max_set)
    with pytest.raises(ValueError, match="n_null=3 is too few"):
        run(adata, model, n_null=3)
    with pytest.raises(ValueError, match="min_cells=0"):
        run(adata, model, min_cells=0)
    with pytest.raises(KeyError, match="not an axis"):
        run(adata, model, reference="nowhere")
    with pytest.raises(ValueError, match="changes none of the cells followed"):
        run(adata, model, "gene_3:x1")
    assert not [key for key in (*adata.uns, *adata.var) if "resistance" in key]
