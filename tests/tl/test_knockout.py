"""Tests of the knockout screen: exact, honest about chance, and safe to write to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scwhatif as wi
from scwhatif.model import BetaLinearSCVI

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

COLUMNS = ["n_cells", "mean_expression", "score", "kl", "shift_norm", "score_expected", "score_residual"]
STATISTICS = ["pval_rank", "pval", "padj"]


def simulate(n_obs: int = 120, n_vars: int = 90, **kwargs: Any) -> AnnData:
    adata = wi.datasets.simulate_factors(n_obs, n_vars, 3, n_cell_types=3, library_size=150, seed=0, **kwargs)
    rng = np.random.default_rng(0)
    adata.obs["age"] = rng.normal(size=n_obs)
    adata.obs["sex"] = rng.choice(["f", "m"], n_obs)
    return adata


def fit(
    adata: AnnData, *, layer: str | None = None, covariates: bool = True, n_hidden: int = 16, **kwargs: Any
) -> BetaLinearSCVI:
    extra = {
        "batch_key": "batch",
        "categorical_covariate_keys": ["sex"],
        "continuous_covariate_keys": ["age"],
    }
    BetaLinearSCVI.setup_anndata(adata, layer=layer, **(extra if covariates else {}))
    model = BetaLinearSCVI(adata, n_latent=4, n_hidden=n_hidden, seed=0, **kwargs)
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def fitted() -> tuple[AnnData, BetaLinearSCVI]:
    adata = simulate()
    return adata, fit(adata, n_layers=2, decoder="nonnegative")


@pytest.fixture
def adata(fitted: tuple[AnnData, BetaLinearSCVI]) -> AnnData:
    return fitted[0].copy()


@pytest.fixture
def model(fitted: tuple[AnnData, BetaLinearSCVI]) -> BetaLinearSCVI:
    return fitted[1]


def run(adata: AnnData, model: BetaLinearSCVI, genes: Any = None, **kwargs: Any) -> pd.DataFrame:
    """The table, indexed by group and gene."""
    wi.tl.knockout(adata, model, genes, progress=False, **kwargs)
    table = adata.uns[kwargs.get("key_added", "knockout")]["by_group"]
    return table.astype({"group": str, "gene": str}).set_index(["group", "gene"])


def knock_out(adata: AnnData, gene: int, layer: str | None = None) -> AnnData:
    """A copy with one gene at zero, the slow way."""
    changed = adata.copy()
    x = changed.X if layer is None else changed.layers[layer]
    dense = x.toarray() if sparse.issparse(x) else np.array(x)
    dense[:, gene] = 0
    new = sparse.csr_matrix(dense) if sparse.issparse(x) else dense
    if layer is None:
        changed.X = new
    else:
        changed.layers[layer] = new
    return changed


@pytest.mark.parametrize(
    ("layer", "dense", "options"),
    [
        (None, False, {"n_layers": 2, "decoder": "nonnegative"}),
        ("counts", False, {"gene_likelihood": "zinb"}),
        (None, True, {"encode_covariates": False}),
        (None, True, {"gene_likelihood": "normal"}),
    ],
)
def test_equals_encoding_the_cells_anew(layer: str | None, dense: bool, options: dict[str, Any]):
    adata = simulate(likelihood="normal" if options.get("gene_likelihood") == "normal" else "nb")
    if layer is not None:
        # nothing but the layer may be read
        adata.X = adata.X * 7
    if dense and sparse.issparse(adata.X):
        adata.X = adata.X.toarray()
    model = fit(adata, layer=layer, **options)
    genes = [0, 7, 41]
    found = run(adata, model, list(adata.var_names[genes]), min_cells=1, n_null=0)
    mean, var = model.get_latent_representation(return_dist=True)
    x = adata.X if layer is None else adata.layers[layer]
    x = x.toarray() if sparse.issparse(x) else x
    for gene in genes:
        new_mean, new_var = model.get_latent_representation(knock_out(adata, gene, layer), return_dist=True)
        shift, changed = new_mean - mean, x[:, gene] != 0
        row = found.loc[("all", adata.var_names[gene])]
        np.testing.assert_allclose(adata.varm["knockout_shift"][gene], shift.mean(axis=0), atol=1e-5)
        distance = np.sqrt((shift**2 / var).sum(axis=1))
        assert not np.abs(distance[~changed]).max(initial=0) > 1e-5
        ratio = new_var / var
        kl = 0.5 * (ratio - 1 - np.log(ratio) + shift**2 / var).sum(axis=1)
        assert row["n_cells"] == changed.sum() == adata.var["knockout_n_cells"].iloc[gene]
        assert row["score"] == pytest.approx(distance[changed].mean(), abs=1e-5)
        assert row["kl"] == pytest.approx(kl[changed].mean(), abs=1e-5)
        assert row["shift_norm"] == pytest.approx(np.linalg.norm(shift.mean(axis=0)), abs=1e-5)
        assert row["mean_expression"] == pytest.approx(x[:, gene].mean(), rel=1e-5)
        assert adata.var["knockout_score"].iloc[gene] == row["score"]


def test_a_group_equals_the_group_alone(adata: AnnData, model: BetaLinearSCVI):
    together = run(adata, model, groupby="cell_type", min_cells=5)
    alone = adata[adata.obs["cell_type"] == "type_1"].copy()
    wanted = run(alone, model, min_cells=5)
    np.testing.assert_array_equal(together.loc["type_1", "n_cells"], wanted.loc["all", "n_cells"])
    assert wanted["pval"].notna().sum() > 30
    for column in COLUMNS + STATISTICS:
        np.testing.assert_allclose(together.loc["type_1", column], wanted.loc["all", column], rtol=1e-3, atol=1e-5)
    # and all cells do not depend on how they are grouped
    ungrouped = run(adata, model, min_cells=5)
    np.testing.assert_allclose(together.loc["all", "score"], ungrouped.loc["all", "score"], rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 37, 100_000])
def test_batch_size_does_not_matter(adata: AnnData, model: BetaLinearSCVI, batch_size: int):
    wanted = run(adata.copy(), model, groupby="cell_type")
    found = run(adata, model, groupby="cell_type", batch_size=batch_size)
    for column in COLUMNS + STATISTICS:
        np.testing.assert_allclose(found[column], wanted[column], rtol=1e-3, atol=1e-5, err_msg=column)


def test_a_gene_does_not_depend_on_which_others_are_asked_for(adata: AnnData, model: BetaLinearSCVI):
    everything = run(adata.copy(), model, groupby="cell_type", min_cells=10, n_null=25)
    asked = ["gene_50", "gene_3", "gene_8"]
    some = run(adata, model, asked, groupby="cell_type", min_cells=10, n_null=25)
    # in the order of the data
    assert list(some.loc["all"].index) == ["gene_3", "gene_8", "gene_50"]
    assert some["pval"].notna().sum() > 6
    for column in [*COLUMNS, "pval_rank", "pval"]:
        np.testing.assert_allclose(some[column], everything.loc[some.index, column], rtol=1e-3, atol=1e-6)
    assert adata.var["knockout_score"].notna().sum() == 3
    assert np.isfinite(adata.varm["knockout_shift"]).all(axis=1).sum() == 3
    one = run(adata, model, "gene_8", n_null=25)
    assert len(one) == 1
    assert one["padj"].iloc[0] == one["pval"].iloc[0]


def test_other_operations(adata: AnnData, model: BetaLinearSCVI):
    knocked, halved, added, kept = (run(adata, model, op=op, n_null=0) for op in ("ko", "x0.5", "+3", "x1"))
    tested = knocked["score"].notna()
    assert (halved.loc[tested, "score"] < knocked.loc[tested, "score"]).mean() > 0.9
    assert (added["n_cells"] == adata.n_obs).all()
    assert added["score"].notna().all()
    assert not kept["n_cells"].any()
    assert kept["score"].isna().all()
    thinned = [run(adata, model, op="thin0.5", n_null=0, seed=seed)["score"] for seed in (0, 0, 1)]
    assert thinned[0].equals(thinned[1])
    assert not thinned[0].equals(thinned[2])


def test_genes_in_too_few_cells_are_not_tested_but_stay(adata: AnnData, model: BetaLinearSCVI):
    found = run(adata, model, min_cells=60)
    few = (found["n_cells"] < 60).to_numpy()
    assert 5 < few.sum() < 85
    for column in COLUMNS[2:] + STATISTICS:
        np.testing.assert_array_equal(found[column].isna(), few, err_msg=column)
    assert len(found) == adata.n_vars
    np.testing.assert_array_equal(np.isnan(adata.varm["knockout_shift"]).all(axis=1), few)
    np.testing.assert_array_equal(adata.var["knockout_pval"].isna(), few)
    assert adata.var["knockout_n_cells"].dtype == np.int64


def exchangeable(seed: int) -> tuple[AnnData, BetaLinearSCVI]:
    """Genes whose weights were all drawn from one distribution: the encoder has no favourites."""
    adata = wi.datasets.simulate_factors(100, 400, 3, n_batches=1, library_size=1000, seed=seed)
    model = fit(adata, covariates=False, n_hidden=64)
    torch.manual_seed(seed)
    with torch.no_grad():
        model.module.z_encoder.first.weight.normal_(std=0.05)
    return adata, model


def test_chance_and_a_planted_gene():
    pvals, n_found = [], 0
    for seed in range(4):
        adata, model = exchangeable(seed)
        found = run(adata, model)
        pvals.append(found["pval"].dropna())
        n_found += int((found["padj"] < 0.05).sum())
    counts = np.histogram(np.concatenate(pvals), bins=5, range=(0, 1))[0]
    assert counts.sum() > 1000
    assert np.abs(counts / counts.sum() - 0.2).max() < 0.05
    assert n_found <= 2

    planted = int(np.argsort(found["mean_expression"].to_numpy())[250])
    with torch.no_grad():
        model.module.z_encoder.first.weight[:, planted] *= 6
    found = run(adata, model)
    assert found["padj"].iloc[planted] < 0.01
    assert found["pval"].idxmin() == ("all", adata.var_names[planted])
    assert found["score_residual"].iloc[planted] > 1.5
    # what its large weights explain is not held against other large weights
    assert run(adata, model, match_on=("mean", "detection", "weight"))["pval"].iloc[planted] > 0.05


def test_a_planted_direction_is_found_among_equal_weights():
    adata, model = exchangeable(0)
    encoder = model.module.z_encoder
    planted = int(np.argsort(np.asarray(adata.X.mean(axis=0)).ravel())[250])
    with torch.no_grad():
        direction = torch.linalg.svd(encoder.mean.weight)[2][0]
        encoder.mean.weight += 4 * torch.outer(encoder.mean.weight @ direction, direction)
        weight = encoder.first.weight
        weight[:, planted] = direction * weight[:, planted].norm()
    found = run(adata, model, match_on=("mean", "detection", "weight"))
    assert found["pval"].idxmin() == ("all", adata.var_names[planted])
    assert found["padj"].iloc[planted] < 0.05


def test_survives_a_file(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path):
    import anndata as ad

    run(adata, model, ["gene_1", "gene_2"], groupby="cell_type", key_added="mine", n_null=50)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.uns["mine"]["by_group"], adata.uns["mine"]["by_group"])
    np.testing.assert_array_equal(back.varm["mine_shift"], adata.varm["mine_shift"])
    names = ["mine_n_cells", "mine_score", "mine_pval", "mine_padj"]
    pd.testing.assert_frame_equal(back.var[names], adata.var[names])
    params = back.uns["mine"]["params"]
    assert list(params["genes"]) == ["gene_1", "gene_2"]
    wanted = {"op": "ko", "groupby": "cell_type", "n_null": 50, "min_cells": 20, "seed": 0, "library": "original"}
    assert {key: params[key] for key in wanted} == wanted
    assert params["model_class"] == "BetaLinearSCVI"
    assert params["model_hash"] == adata.uns["mine"]["params"]["model_hash"]
    assert {"scwhatif_version", "scvi_tools_version", "torch_version"} <= set(params)
    assert set(back.uns["mine"]) == {"params", "by_group"}
    assert params["plan"] == "row-update"


def test_reports_how_much_is_just_expression(adata: AnnData, model: BetaLinearSCVI):
    from scipy.stats import spearmanr

    found = run(adata, model)
    tested = found[found["score"].notna()]
    reported = adata.uns["knockout"]["params"]["spearman_score_mean_expression"]
    assert reported == pytest.approx(spearmanr(tested["score"], tested["mean_expression"]).statistic)


def test_reports_what_was_known_beforehand(adata: AnnData, model: BetaLinearSCVI):
    run(adata, model)
    params = adata.uns["knockout"]["params"]
    assert -1 < params["r2_identity"] < 1
    # where effects are nothing but weights, weights explain them
    assert params["r2_identity_weight"] > params["r2_identity"]
    few = run(adata, model, ["gene_1", "gene_2"])
    assert len(few) == 2
    assert np.isnan(adata.uns["knockout"]["params"]["r2_identity"])


def with_donors(adata: AnnData, n_donors: int = 4) -> AnnData:
    adata.obs["donor"] = [f"d{i % n_donors}" for i in range(adata.n_obs)]
    return adata


def test_donors(model: BetaLinearSCVI, adata: AnnData, tmp_path: Path):
    import anndata as ad
    from scipy.stats import ttest_1samp

    with_donors(adata)
    found = run(adata, model, groupby="cell_type", donor="donor", min_cells=2, n_null=25)
    plain = run(adata.copy(), model, groupby="cell_type", min_cells=2, n_null=25)
    for column in COLUMNS + STATISTICS:
        np.testing.assert_allclose(found[column], plain[column], rtol=1e-5, atol=1e-6, err_msg=column)
    residual = []
    for donor in ("d0", "d1", "d2", "d3"):
        alone = adata[(adata.obs["donor"] == donor) & (adata.obs["cell_type"] == "type_1")].copy()
        residual.append(run(alone, model, min_cells=2, n_null=25).loc["all", "score_residual"])
    residual = np.array(residual)
    own = found.loc["type_1"]
    np.testing.assert_array_equal(own["n_donors"], np.isfinite(residual).sum(axis=0))
    full = (own["n_donors"] == 4).to_numpy()
    assert full.sum() >= 10
    wanted = ttest_1samp(residual[:, full], 0, alternative="greater").pvalue
    np.testing.assert_allclose(own["pval_donor"][full], wanted, rtol=1e-3, atol=1e-5)
    assert own["pval_donor"][own["n_donors"] < 3].isna().all()
    overall = found.loc["all"]
    for name in ("pval_donor", "padj_donor"):
        np.testing.assert_array_equal(adata.var[f"knockout_{name}"], overall[name])
    # a subset gives the same
    some = run(adata, model, ["gene_3", "gene_8"], donor="donor", min_cells=2, n_null=25)
    np.testing.assert_allclose(some["pval_donor"], overall.loc[["gene_3", "gene_8"], "pval_donor"], rtol=1e-3)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.uns["knockout"]["by_group"], adata.uns["knockout"]["by_group"])
    assert back.uns["knockout"]["params"]["donor"] == "donor"


def test_a_gene_of_one_donor_only_is_not_significant_over_donors():
    adata, model = exchangeable(0)
    with_donors(adata)
    planted = int(np.argsort(np.asarray(adata.X.mean(axis=0)).ravel())[250])
    with torch.no_grad():
        model.module.z_encoder.first.weight[:, planted] *= 6
    found = run(adata, model, donor="donor", min_cells=10)
    assert found["padj_donor"].iloc[planted] < 0.05
    assert found["n_donors"].iloc[planted] == 4


def test_an_axis_is_that_of_master_regulators(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path):
    import anndata as ad

    with_donors(adata)
    settings = {"groupby": "cell_type", "donor": "donor", "min_cells": 2, "n_null": 25}
    target = ("cell_type", "type_1")
    some = ["gene_8", "gene_3"]
    wi.tl.master_regulators(adata, model, target, candidates=some, progress=False, **settings)
    wanted = adata.uns["master_regulators"]["table"].set_index(["group", "gene"])
    found = run(adata, model, some, axis=target, pairs="layer", **settings)
    plain = run(adata.copy(), model, some, **settings)
    pd.testing.assert_frame_equal(found[plain.columns], plain)
    pairs = found.reset_index()[["group", "gene"]].to_records(index=False).tolist()
    names = {"shift": "effect", **{name: name for name in ("low", "high", "null_sd", "pval_rank", "pval", "padj")}}
    assert set(found) - set(plain) == {f"axis_{name}" for name in names}
    tested = wanted.loc[pairs, "effect"].notna().to_numpy()
    assert tested.any()
    for mine, theirs in names.items():
        expected = wanted.loc[pairs, theirs].where(tested)
        np.testing.assert_allclose(found[f"axis_{mine}"], expected, rtol=1e-4, atol=1e-6, err_msg=mine)
    of_gene = adata.var.loc[found.loc["all"].index, "knockout_axis_shift"]
    np.testing.assert_array_equal(of_gene, found.loc["all", "axis_shift"])
    assert adata.var["knockout_axis_padj"].notna().sum() <= 2
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["knockout"]
    assert list(back["params"]["axis"]) == list(target)
    pd.testing.assert_frame_equal(back["by_group"], adata.uns["knockout"]["by_group"])


def test_a_dimension_is_a_column_of_the_shift(adata: AnnData, model: BetaLinearSCVI):
    found = run(adata, model, axis="z2", n_null=0)
    np.testing.assert_allclose(found["axis_shift"], adata.varm["knockout_shift"][:, 2], atol=1e-9)
    assert found["axis_pval"].isna().all()
    with pytest.raises(KeyError, match="target='z9' is neither an axis"):
        wi.tl.knockout(adata, model, axis="z9", progress=False)


def test_copy_leaves_the_original_and_the_data_alone(adata: AnnData, model: BetaLinearSCVI):
    x = adata.X.copy()
    out = wi.tl.knockout(adata, model, progress=False, copy=True)
    assert "knockout" in out.uns
    assert "knockout" not in adata.uns
    assert "knockout_score" not in adata.var
    assert (x != adata.X).nnz == 0
    assert (x != out.X).nnz == 0


def test_a_loaded_model_gives_the_same(adata: AnnData, model: BetaLinearSCVI, tmp_path: Path):
    wanted = run(adata.copy(), model)
    model.save(tmp_path / "model")
    loaded = BetaLinearSCVI.load(str(tmp_path / "model"), adata=adata, accelerator="cpu")
    pd.testing.assert_frame_equal(run(adata, loaded), wanted)


def test_few_genes_give_effects_and_a_warning(adata: AnnData, model: BetaLinearSCVI):
    with pytest.warns(UserWarning, match=r"No p-values for 'all': a gene needs 20 others"):
        found = run(adata, model, min_cells=int(np.sort(adata.X.getnnz(axis=0))[-10]))
    assert found["score"].notna().sum() >= 10
    assert found["pval"].isna().all()


def test_bad_input(adata: AnnData, model: BetaLinearSCVI):
    with pytest.raises(KeyError, match=r"gene_99999.*gene_9"):
        run(adata, model, ["gene_99999"])
    with pytest.raises(KeyError, match=r"groupby='cell_typ'.*Did you mean 'cell_type'"):
        run(adata, model, groupby="cell_typ")
    with pytest.raises(ValueError, match="genes is empty"):
        run(adata, model, [])
    for op in ("ko + gene_1:ko", "hide", "swap(a)"):
        with pytest.raises(ValueError, match="op="):
            run(adata, model, op=op)
    with pytest.raises(wi.perturbation.PerturbationSyntaxError, match="knock"):
        run(adata, model, op="knock")
    with pytest.raises(ValueError, match="below 0"):
        run(adata, model, op="=-1")
    with pytest.raises(ValueError, match="n_null=5 is too few"):
        run(adata, model, n_null=5)
    with pytest.raises(ValueError, match="match_on"):
        run(adata, model, match_on=["expression"])
    for name in ("min_cells", "batch_size"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            run(adata, model, **{name: 0})
    other = adata[:, ::-1].copy()
    with pytest.raises(ValueError, match="another order"):
        run(other, model)
    with pytest.raises(ValueError, match="library='free'"):
        run(adata, model, library="free")
    with pytest.raises(ValueError, match="needs store="):
        run(adata, model, pairs="zarr")
    with pytest.raises(ValueError, match=r"'sex'\] has 2 donor"):
        run(adata, model, donor="sex")
    adata.obs["with_gaps"] = adata.obs["cell_type"].where(adata.obs["cell_type"] != "type_0")
    with pytest.raises(ValueError, match=r"'with_gaps'.*missing for \d+ cell"):
        run(adata, model, groupby="with_gaps")
    adata.obs["clash"] = "all"
    with pytest.raises(ValueError, match="rename"):
        run(adata, model, groupby="clash")
    assert not [key for key in (*adata.uns, *adata.var, *adata.varm) if "knockout" in key]


def test_a_model_that_cannot_answer(adata: AnnData):
    BetaLinearSCVI.setup_anndata(adata)
    untrained = BetaLinearSCVI(adata, n_latent=3, n_hidden=8)
    with pytest.raises(ValueError, match="not been trained"):
        run(adata, untrained)


def test_minified_data_have_nothing_to_knock_out(adata: AnnData):
    model = fit(adata)
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = model.get_latent_representation(return_dist=True)
    full = adata.copy()
    model.minify_adata()
    for data in (model.adata, full):
        with pytest.raises(ValueError, match=r"minified.*load\(folder, adata=adata_with_counts\)"):
            run(data, model)
