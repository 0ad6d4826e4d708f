"""Tests of ranked genes: exact, comparable between methods, honest about chance, and safe to write to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scwhatif as wi
from scwhatif._compat import infer, registered_data, seeded
from scwhatif.model import BetaLinearSCVI

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

METHODS = ["ko", "jacobian", "integrated_gradients", "expected_gradients"]


def fit(adata: AnnData, *, n_hidden: int = 16, epochs: int = 2, **setup: Any) -> BetaLinearSCVI:
    BetaLinearSCVI.setup_anndata(adata, **setup)
    model = BetaLinearSCVI(adata, n_latent=4, n_hidden=n_hidden, seed=0)
    model.train(max_epochs=epochs, seed=0, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def fitted() -> tuple[AnnData, BetaLinearSCVI]:
    adata = wi.datasets.simulate_factors(120, 90, 3, n_cell_types=3, library_size=150, seed=0)
    adata.obs["donor"] = np.tile(["d0", "d1", "d2", "d3"], 30)
    model = fit(adata, batch_key="batch")
    adata.obsm["X_wi"] = model.get_latent_representation()
    wi.tl.axis(adata, "cell_type", ("type_0", "type_1"))
    return adata, model


@pytest.fixture
def adata(fitted: tuple[AnnData, BetaLinearSCVI]) -> AnnData:
    return fitted[0].copy()


@pytest.fixture
def model(fitted: tuple[AnnData, BetaLinearSCVI]) -> BetaLinearSCVI:
    return fitted[1]


def run(adata: AnnData, model: Any, target: Any = "z0", **kwargs: Any) -> pd.DataFrame:
    """The table, indexed by method, group and gene."""
    settings = {"progress": False, "n_steps": 64, "min_cells": 1} | kwargs
    wi.tl.master_regulators(adata, model, target, **settings)
    table = adata.uns[kwargs.get("key_added", "master_regulators")]["table"]
    return table.astype({"method": str, "group": str, "gene": str}).set_index(["method", "group", "gene"])


@pytest.mark.slow
def test_masters_of_a_simulated_network_lead_the_direction_of_their_own_activity():
    adata = wi.datasets.simulate_network(1500, 400, seed=0)
    BetaLinearSCVI.setup_anndata(adata)
    model = BetaLinearSCVI(adata, n_latent=16, seed=0)
    model.train(max_epochs=60, seed=0, accelerator="cpu", enable_progress_bar=False)
    ranks = []
    for i, gene in enumerate(adata.var_names[:14]):
        activity = adata.obsm["true_activity"][:, i]
        adata.obs["activity"] = np.where(activity > np.median(activity), "high", "low")
        found = run(adata, model, ("activity", "high"), method=["ko", "jacobian"], n_null=0, min_cells=20)
        ranks.append([found.loc[name, "all"].index.get_loc(gene) + 1 for name in ("ko", "jacobian")])
        # their own counts say most about their activity, so knocking them out leads away from it
        assert found.loc[("ko", "all", gene), "effect"] < 0
    ranks = np.array(ranks)
    assert ranks[:2].max() <= 5
    # not every regulator: the encoder overlooks some that it can do without
    assert (ranks <= 5).mean(axis=0).min() > 0.6


def without(adata: AnnData, gene: int) -> AnnData:
    changed = adata.copy()
    x = changed.X.toarray()
    x[:, gene] = 0
    changed.X = sparse.csr_matrix(x)
    return changed


@pytest.mark.parametrize("target", ["type_0_to_type_1", "z2", ("cell_type", "type_2")])
def test_a_knockout_equals_encoding_the_cells_anew(adata: AnnData, model: BetaLinearSCVI, target: Any):
    found = run(adata, model, target, within=("batch", "batch_0"), n_null=0)
    z = model.get_latent_representation()
    inside = (adata.obs["batch"] == "batch_0").to_numpy()
    for gene in (0, 7, 41):
        moved = model.get_latent_representation(without(adata, gene)).astype(np.float64)
        if target == "z2":
            change = moved[:, 2] - z[:, 2]
        elif isinstance(target, str):
            change = ((moved - z) @ adata.uns["axis"][target]["unit"]) / adata.uns["axis"][target]["length"]
        else:
            state = (adata.obs["cell_type"] == "type_2").to_numpy()
            way = z[state].mean(0) - z[~state].mean(0)
            change = (moved - z) @ way / (way @ way)
        row = found.loc[("ko", "all", adata.var_names[gene])]
        assert row["effect"] == pytest.approx(change[inside].mean(), abs=1e-5)
        assert row["size"] == pytest.approx(np.abs(change[inside]).mean(), abs=1e-5)
        assert row["n_cells"] == (adata.X[inside][:, gene] != 0).sum()
        assert row["mean_expression"] == pytest.approx(adata.X[inside][:, gene].mean(), rel=1e-5)


def test_methods_agree_and_say_how_well_they_add_up(adata: AnnData, model: BetaLinearSCVI):
    found = run(adata, model, method=METHODS, n_steps=256)
    assert found.groupby("method", sort=False).size().to_dict() == dict.fromkeys(METHODS, 90)
    agreement = adata.uns["master_regulators"]["agreement"].set_index(["method_a", "method_b"])["spearman"]
    assert len(agreement) == 6
    # knockouts are compared with the opposite sign
    assert agreement.min() > 0.8
    assert agreement["ko", "integrated_gradients"] > 0.9
    methods = adata.uns["master_regulators"]["methods"].set_index("method")
    assert methods["completeness"].isna().tolist() == [True, True, False, False]
    assert methods["completeness"].max() < 0.03
    assert (methods["n_tested"] == 90).all()
    for name in METHODS:
        rows = found.loc[name, "all"].loc[adata.var_names]
        np.testing.assert_array_equal(adata.var[f"master_regulators_{name}"], rows["effect"])
        np.testing.assert_array_equal(adata.var[f"master_regulators_{name}_padj"], rows["padj"])
        assert methods.loc[name, "spearman_mean_expression"] == pytest.approx(
            rows["effect"].abs().corr(rows["mean_expression"], method="spearman")
        )
        assert methods.loc[name, "n_significant"] == (rows["padj"] < 0.05).sum()


def test_shares_of_integrated_gradients_add_up_to_the_readout(adata: AnnData, model: BetaLinearSCVI):
    found = run(adata, model, "z1", method="integrated_gradients", n_steps=1024, n_null=0)
    # a cell without any counts, as the encoder sees it
    data = registered_data(model, adata)
    mean = infer(model.module, {"X": np.zeros(adata.shape, np.float32), **data.fields})[0].numpy()
    difference = model.get_latent_representation()[:, 1] - mean[:, 1]
    size = float(np.sqrt(np.square(difference).mean()))
    assert found["effect"].sum() == pytest.approx(float(difference.mean()), abs=1e-3 * size)
    completeness = adata.uns["master_regulators"]["methods"]["completeness"].item()
    assert 0 < completeness < 3e-3


def test_groups_and_donors(adata: AnnData, model: BetaLinearSCVI):
    found = run(adata, model, groupby="cell_type", donor="donor", n_null=20)
    assert found.index.get_level_values("group").unique().tolist() == ["all", "type_0", "type_1", "type_2"]
    alone = adata[adata.obs["cell_type"] == "type_1"].copy()
    wanted = run(alone, model, donor="donor", n_null=20)
    for column in ("effect", "size", "low", "high", "pval", "pval_rank"):
        np.testing.assert_allclose(
            found.loc[("ko", "type_1")].loc[adata.var_names, column],
            wanted.loc[("ko", "all")].loc[adata.var_names, column],
            rtol=1e-3,
            atol=1e-5,
        )
    known = found[found["effect"].notna()]
    assert len(known) > 300
    assert known["low"].le(known["effect"]).all()
    assert known["effect"].le(known["high"]).all()
    by_donor = [run(adata, model, within=("donor", f"d{i}"), n_null=0).loc[("ko", "all", "gene_3")] for i in range(4)]
    assert found.loc[("ko", "all", "gene_3"), "effect"] == pytest.approx(
        np.mean([each["effect"] for each in by_donor]), abs=1e-6
    )


def test_largest_first_and_genes_in_too_few_cells_last(adata: AnnData, model: BetaLinearSCVI):
    found = run(adata, model, min_cells=60)
    few = found["n_cells"] < 60
    assert 5 < few.sum() < 85
    size = found.loc[~few, "effect"].abs().to_numpy()
    assert (np.diff(size) <= 0).all()
    for column in ("effect", "size", "pval", "padj", "null_sd"):
        np.testing.assert_array_equal(found[column].isna(), few)
    assert few.iloc[-few.sum() :].all()


def test_candidates_change_nothing_but_what_is_reported(adata: AnnData, model: BetaLinearSCVI):
    every = run(adata.copy(), model, method=["ko", "jacobian"])
    some = run(adata, model, method=["ko", "jacobian"], candidates=["gene_9", "gene_4"])
    assert len(some) == 4
    for column in ("effect", "pval", "null_sd"):
        np.testing.assert_allclose(some[column], every.loc[some.index, column])
    assert adata.var["master_regulators_ko"].notna().sum() == 2
    assert (some["padj"] <= every.loc[some.index, "padj"] + 1e-12).all()


def planted(seed: int, weight: float) -> tuple[AnnData, BetaLinearSCVI, int]:
    """Genes whose weights were all drawn from one distribution, but one that drives the first dimension."""
    adata = wi.datasets.simulate_factors(100, 400, 3, n_batches=1, library_size=1000, seed=seed)
    model = fit(adata, n_hidden=64)
    gene = int(np.argsort(np.asarray(adata.X.mean(axis=0)).ravel())[250])
    encoder = model.module.z_encoder
    torch.manual_seed(seed)
    with torch.no_grad():
        encoder.first.weight.normal_(std=0.05)
        direction = encoder.mean.weight[0] / encoder.mean.weight[0].norm()
        if weight:
            encoder.first.weight[:, gene] = weight * direction * encoder.first.weight.norm(dim=0).mean()
        model.module.rotation.copy_(torch.eye(4))
    return adata, model, gene


def test_a_planted_driver_ranks_first_and_chance_finds_nothing():
    adata, model, gene = planted(0, 4.0)
    found = run(adata, model, "z0", method=METHODS)
    for name in METHODS:
        rows = found.loc[name, "all"]
        assert rows.index[0] == adata.var_names[gene]
        assert rows["padj"].iloc[0] < 0.01
        assert (rows["padj"] < 0.05).sum() <= 3
    pvals = []
    for seed in range(3):
        adata, model, _ = planted(seed, 0.0)
        pvals.append(run(adata, model, "z0")["pval"])
    counts = np.histogram(np.concatenate(pvals), bins=5, range=(0, 1))[0]
    assert np.abs(counts / counts.sum() - 0.2).max() < 0.06


def test_other_models(adata: AnnData):
    import scvi

    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    with seeded(0):
        model = scvi.model.SCVI(adata, n_latent=3, n_hidden=8)
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    found = run(adata, model, method=["ko", "jacobian"], n_null=0)
    z = model.get_latent_representation()
    moved = model.get_latent_representation(without(adata, 5))
    assert found.loc[("ko", "all", "gene_5"), "effect"] == pytest.approx((moved - z)[:, 0].mean(), abs=1e-5)
    assert adata.uns["master_regulators"]["params"]["plan"] == "row-update"


def test_survives_a_file(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path):
    import anndata as ad

    run(adata, model, ("cell_type", "type_1"), method=["ko", "jacobian"], donor="donor", key_added="mine")
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("table", "methods", "agreement"):
        pd.testing.assert_frame_equal(back.uns["mine"][name], adata.uns["mine"][name])
    params = back.uns["mine"]["params"]
    assert list(params["target"]) == ["cell_type", "type_1"]
    assert list(params["method"]) == ["ko", "jacobian"]
    assert {"model_hash", "scwhatif_version", "plan", "n_steps", "donor"} <= set(params)
    assert "groupby" not in params
    np.testing.assert_array_equal(back.var["mine_jacobian"], adata.var["mine_jacobian"])


def test_seeded_and_copies(adata: AnnData, model: BetaLinearSCVI):
    x = adata.X.copy()
    settings = {"method": "expected_gradients", "n_baselines": 4, "n_null": 0}
    first, second, other = (run(adata.copy(), model, seed=seed, **settings)["effect"] for seed in (0, 0, 1))
    pd.testing.assert_series_equal(first, second)
    assert not first.equals(other)
    out = wi.tl.master_regulators(adata, model, "z0", progress=False, copy=True)
    assert "master_regulators" in out.uns
    assert "master_regulators" not in adata.uns
    assert not [name for name in adata.var if "master" in name]
    assert (x != adata.X).nnz == 0


def test_few_genes_give_effects_and_a_warning(adata: AnnData, model: BetaLinearSCVI):
    with pytest.warns(UserWarning, match=r"No p-values for 'all': a gene needs 20 others"):
        found = run(adata, model, min_cells=int(np.sort(adata.X.getnnz(axis=0))[-10]))
    assert found["effect"].notna().sum() >= 10
    assert found["pval"].isna().all()


def test_bad_input(adata: AnnData, model: BetaLinearSCVI):
    with pytest.raises(ValueError, match="method='shap' must be one or more of"):
        run(adata, model, method="shap")
    with pytest.raises(ValueError, match="n_null=5 is too few"):
        run(adata, model, n_null=5)
    with pytest.raises(ValueError, match="match_on"):
        run(adata, model, match_on="mean")
    for name in ("min_cells", "n_steps", "n_baselines"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            run(adata, model, **{name: 0})
    with pytest.raises(KeyError, match="gene_99999"):
        run(adata, model, candidates=["gene_99999"])
    with pytest.raises(KeyError, match="neither an axis"):
        run(adata, model, "z9")
    with pytest.raises(KeyError, match="has no 'd9'"):
        run(adata, model, within=("donor", "d9"))
    with pytest.raises(KeyError, match="Did you mean 'donor'"):
        run(adata, model, donor="donors")
    with pytest.raises(ValueError, match="another order"):
        run(adata[:, ::-1].copy(), model)
    BetaLinearSCVI.setup_anndata(adata)
    with pytest.raises(ValueError, match="not been trained"):
        run(adata, BetaLinearSCVI(adata, n_latent=4, n_hidden=8))
    assert not [key for key in (*adata.uns, *adata.var) if "master" in key]


def test_arguments_for_mudata_do_not_apply(adata: AnnData, model: BetaLinearSCVI):
    with pytest.raises(ValueError, match="reference='cohort' does not apply to AnnData; leave it out"):
        wi.tl.master_regulators(adata, model, "z0", reference="cohort")
    with pytest.raises(ValueError, match="strata='batch' does not apply to AnnData"):
        wi.tl.master_regulators(adata, model, "z0", strata="batch")
    with pytest.raises(TypeError, match="Several models are for MuData"):
        wi.tl.master_regulators(adata, [model], "z0")
    with pytest.raises(ValueError, match=r"method='difference' must be one or more of \('ko'"):
        wi.tl.master_regulators(adata, model, "z0", method="difference")
