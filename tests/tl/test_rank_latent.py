from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture(scope="module")
def ranked() -> AnnData:
    """Three programmes, each on in one cell type; the fourth type has none, the other factors vary within types."""
    adata = wi.datasets.simulate_factors(300, 150, 6, n_cell_types=4, seed=0)
    wi.tl.rank_latent(adata, "cell_type", use_rep="true_factors", n_permutations=99)
    return adata


def test_planted_markers_are_found(ranked: AnnData):
    floors = ranked.uns["rank_latent"]["floors"].set_index("group")
    assert list(floors.index) == ["type_0", "type_1", "type_2", "type_3"]
    for k in range(3):
        assert floors.loc[f"type_{k}", "best_dimension"] == f"z{k}"
        assert floors.loc[f"type_{k}", "auc"] > 0.999
    assert floors["n_cells"].tolist() == ranked.obs["cell_type"].value_counts(sort=False).tolist()


def test_factors_that_vary_within_types_are_no_markers(ranked: AnnData):
    table = ranked.uns["rank_latent"]["table"]
    inside = table[table["dimension"].isin(["z3", "z4", "z5"])]
    assert (inside["auc"] < 0.65).all()
    assert (table.query("group != 'type_3' and auc > .99")["padj"] <= 0.02).all()


def test_direction_and_effect_size(ranked: AnnData):
    table = ranked.uns["rank_latent"]["table"].set_index(["group", "dimension"])
    assert table.loc[("type_0", "z0"), "direction"] == 1
    assert table.loc[("type_3", "z0"), "direction"] == -1
    # 2 apart at a standard deviation of .25 within, but the programme is off in all three other types
    assert table.loc[("type_0", "z0"), "cohens_d"] == pytest.approx(8.0, rel=0.1)
    assert (np.sign(table["cohens_d"]) == table["direction"])[table["auc"] > 0.6].all()


def test_auc_equals_sklearn(ranked: AnnData):
    values = ranked.obsm["true_factors"]
    for row in ranked.uns["rank_latent"]["table"].itertuples():
        signed = row.direction * values[:, int(row.dimension[1:])]
        assert row.auc == pytest.approx(roc_auc_score(ranked.obs["cell_type"] == row.group, signed), abs=1e-12)


def test_table_is_sorted_and_complete(ranked: AnnData):
    table = ranked.uns["rank_latent"]["table"]
    assert len(table) == 6 * 4
    assert all((np.diff(part["auc"]) <= 0).all() for _, part in table.groupby("group", sort=False, observed=True))
    assert (table["padj"] >= table["pval"] - 1e-12).all()
    assert table["pval"].min() == pytest.approx(1 / 100)


def test_floors_equal_those_of_sklearn(ranked: AnnData):
    import scanpy as sc
    from sklearn.decomposition import PCA

    other = ranked.copy()
    sc.pp.normalize_total(other)
    sc.pp.log1p(other)
    dense = other.X.toarray().astype(np.float64)
    components = PCA(6, svd_solver="full").fit_transform(dense)
    floors = ranked.uns["rank_latent"]["floors"].set_index("group")
    for group, row in floors.iterrows():
        is_in = (ranked.obs["cell_type"] == group).to_numpy()
        pcs = [roc_auc_score(is_in, components[:, j]) for j in range(6)]
        genes = np.array([roc_auc_score(is_in, dense[:, j]) for j in range(ranked.n_vars)])
        assert row["pc_auc"] == pytest.approx(max(max(a, 1 - a) for a in pcs), abs=1e-3)
        assert row["gene_auc"] == pytest.approx(np.maximum(genes, 1 - genes).max(), abs=1e-3)
        assert row["gene"] == ranked.var_names[np.maximum(genes, 1 - genes).argmax()]


def test_floor_data_is_recorded(ranked: AnnData):
    assert ranked.uns["rank_latent"]["params"]["floor_data"] == "log-normalised"
    logged = ranked.copy()
    logged.layers["log"] = np.log1p(logged.X.toarray() / 7)
    wi.tl.rank_latent(logged, "cell_type", use_rep="true_factors", layer="log", n_permutations=1)
    assert logged.uns["rank_latent"]["params"]["floor_data"] == "as is"


def test_dense_and_sparse_data_give_the_same_floors(ranked: AnnData):
    dense = ranked.copy()
    dense.X = dense.X.toarray()
    wi.tl.rank_latent(dense, "cell_type", use_rep="true_factors", n_permutations=99)
    found, expected = (each.uns["rank_latent"]["floors"].drop(columns="ica_auc") for each in (dense, ranked))
    # independent components are left out: of Gaussian factors there are none, and the iteration ends anywhere
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-3)


def test_pvalues_are_uniform_without_structure():
    """The best of five dimensions, over many random labels: max-statistic p-values must be uniform, not small."""
    rng = np.random.default_rng(0)
    best = []
    for seed in range(100):
        adata = ad.AnnData(rng.poisson(5, (40, 8)).astype(np.float32), obsm={"noise": rng.normal(size=(40, 5))})
        adata.obs["label"] = rng.permutation(np.repeat(["a", "b"], 20))
        wi.tl.rank_latent(adata, "label", use_rep="noise", n_permutations=39, floors=[], seed=seed)
        best.append(adata.uns["rank_latent"]["table"].iloc[0]["pval"])
    # p-values are multiples of 1/40; spread each over its step
    smooth = np.array(best) - rng.uniform(0, 1 / 40, len(best))
    assert kstest(smooth, "uniform").pvalue > 0.01


def test_more_dimensions_cost_more():
    """The same dimension beside fifty of noise has a larger p-value than alone."""
    rng = np.random.default_rng(3)
    label = np.repeat(["a", "b"], 15)
    weak = rng.normal(size=(30, 1)) + 0.6 * (label == "b")[:, None]
    adata = ad.AnnData(rng.poisson(5, (30, 20)).astype(np.float32))
    adata.obs["label"] = label
    adata.obsm["alone"] = weak
    adata.obsm["crowd"] = np.hstack([weak, rng.normal(size=(30, 50))])
    pval = {}
    for rep in ("alone", "crowd"):
        wi.tl.rank_latent(adata, "label", use_rep=rep, n_permutations=499)
        table = adata.uns["rank_latent"]["table"]
        pval[rep] = table.query("dimension == 'z0' and group == 'b'")["pval"].item()
    assert pval["alone"] < 0.05 < pval["crowd"]


def test_pairs_and_separation_of_planted_markers(ranked: AnnData):
    pairs = ranked.uns["rank_latent"]["pairwise"]
    assert len(pairs) == 6 * 6
    best = pairs.drop_duplicates(["group", "other"])
    assert (best["auc"] > 0.999).all()
    # the programme of either type tells the pair; type_3 has none, so only that of the other does
    for row in best.itertuples():
        assert row.dimension[1:] in {row.group[-1], row.other[-1]} - {"3"}
    table = ranked.uns["rank_latent"]["table"]
    assert table.loc[table["auc"] > 0.999, "separation"].min() > 0.95
    assert table.loc[table["auc"] < 0.55, "separation"].max() < 0.4


def test_diagnostic_dimension_and_its_threshold(ranked: AnnData):
    found = ranked.uns["rank_latent"]["diagnostic"].set_index("group")
    for k in range(3):
        row = found.loc[f"type_{k}"]
        assert (row["dimension"], row["direction"], row["agreement"], row["n_folds"]) == (f"z{k}", 1, 1.0, 5)
        assert row["held_out_auc"] > 0.999
        assert row["held_out_low"] <= row["held_out_auc"] <= row["held_out_high"]
        # the programme is 2 in the type and 0 in all others
        assert row["threshold"] == pytest.approx(1, abs=0.25)
        assert min(row["sensitivity"], row["specificity"]) > 0.95
        assert row["padj"] <= 0.02
    assert found.loc["type_3", "direction"] == -1
    # no single dimension tells a type without a programme
    assert found.loc["type_3", "held_out_auc"] < 0.85


def test_held_out_auc_is_there_for_every_floor(ranked: AnnData):
    held_out = ranked.uns["rank_latent"]["held_out"]
    assert len(held_out) == 4 * 5
    floors = ranked.uns["rank_latent"]["floors"].set_index("group")
    columns = {"pca": "pc_auc", "ica": "ica_auc", "fa": "fa_auc", "gene": "gene_auc"}
    for row in held_out.itertuples():
        assert 0 <= row.held_out_low <= row.held_out_auc <= row.held_out_high <= 1
        if row.representation != "latent":
            assert row.auc == floors.loc[row.group, columns[row.representation]]
    gene = held_out[held_out["representation"] == "gene"].set_index("group")
    assert (gene["feature"] == floors["gene"]).all()


def test_choosing_among_dimensions_of_noise_earns_nothing():
    rng = np.random.default_rng(0)
    apparent, held_out, gene, gene_held_out = [], [], [], []
    for seed in range(15):
        adata = ad.AnnData(rng.normal(size=(50, 40)), obsm={"noise": rng.normal(size=(50, 20))})
        adata.obs["label"] = rng.permutation(np.repeat(["a", "b"], 25))
        wi.tl.rank_latent(adata, "label", use_rep="noise", n_permutations=1, floors=["gene"], seed=seed)
        found = adata.uns["rank_latent"]["held_out"].set_index(["group", "representation"]).loc["a"]
        apparent.append(found.loc["latent", "auc"])
        held_out.append(found.loc["latent", "held_out_auc"])
        gene.append(found.loc["gene", "auc"])
        gene_held_out.append(found.loc["gene", "held_out_auc"])
    assert min(np.mean(apparent), np.mean(gene)) > 0.65
    assert np.mean(held_out) == pytest.approx(0.5, abs=0.08)
    assert np.mean(gene_held_out) == pytest.approx(0.5, abs=0.08)


def with_donors(effect: float, seed: int = 0) -> AnnData:
    """Six donors, three of each condition, whose cells share an offset in each of thirty dimensions."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(6), 20)
    z = 2 * rng.normal(size=(6, 30))[donor] + rng.normal(size=(120, 30))
    z[:, 3] += effect * (donor >= 3)
    adata = ad.AnnData(np.zeros((120, 1)), obsm={"z": z})
    adata.obs["donor"] = [f"d{i}" for i in donor]
    adata.obs["condition"] = np.where(donor >= 3, "case", "control")
    return adata


def test_held_out_donors_see_through_a_donor_effect():
    found = []
    for seed in range(5):
        adata = with_donors(0.0, seed)
        for groups in (None, "donor"):
            wi.tl.rank_latent(adata, "condition", use_rep="z", groups=groups, floors=[], n_permutations=99)
            row = adata.uns["rank_latent"]["diagnostic"].iloc[0]
            found.append({"by": groups or "cell", **row[["auc", "held_out_auc", "pval"]]})
    mean = pd.DataFrame(found).groupby("by").mean().astype(float)
    # cells of a donor that was seen are told from others, for nothing but the donor
    assert mean.loc["cell", "held_out_auc"] > 0.8
    assert mean.loc["cell", "pval"] < 0.02
    assert mean.loc["donor", "held_out_auc"] < 0.6
    assert mean.loc["donor", "pval"] > 0.2
    assert mean.loc["cell", "auc"] == mean.loc["donor", "auc"]
    assert adata.uns["rank_latent"]["params"]["groups"] == "donor"


def test_held_out_donors_keep_a_real_effect():
    adata = with_donors(12.0)
    wi.tl.rank_latent(adata, "condition", use_rep="z", groups="donor", floors=[])
    row = adata.uns["rank_latent"]["diagnostic"].set_index("group").loc["case"]
    assert (row["dimension"], row["n_folds"]) == ("z3", 3)
    assert row["held_out_auc"] > 0.95
    # 20 ways to choose three of six donors, two of which separate as well
    assert 0.05 < row["pval"] < 0.2


def test_pairs_see_through_a_donor_effect():
    best = {None: [], "donor": []}
    for seed in range(5):
        adata = with_donors(0.0, seed)
        for groups, pvals in best.items():
            wi.tl.rank_latent(adata, "condition", use_rep="z", groups=groups, floors=[], n_permutations=99)
            pvals.append(adata.uns["rank_latent"]["pairwise"]["pval"].iloc[0])
    assert max(best[None]) < 1e-6
    assert np.mean(best["donor"]) > 0.2
    real = with_donors(12.0)
    wi.tl.rank_latent(real, "condition", use_rep="z", groups="donor", floors=[])
    row = real.uns["rank_latent"]["pairwise"].iloc[0]
    assert row["dimension"] == "z3"
    # 20 ways to choose three of six donors, two of which separate as well
    assert 0.05 < row["pval"] < 0.2


def test_pairs_that_vary_within_donors_are_compared_within_them():
    adata = with_donors(0.0)
    rng = np.random.default_rng(0)
    adata.obs["state"] = rng.choice(["a", "b", "c"], adata.n_obs)
    adata.obsm["z"][adata.obs["state"] == "b", 7] += 4
    wi.tl.rank_latent(adata, "state", use_rep="z", groups="donor", floors=[], n_permutations=199)
    best = adata.uns["rank_latent"]["pairwise"].drop_duplicates(["group", "other"]).set_index(["group", "other"])
    for pair in (("a", "b"), ("b", "c")):
        assert best.loc[pair, "dimension"] == "z7"
        assert best.loc[pair, "pval"] == pytest.approx(1 / 200)
    assert best.loc[("a", "c"), "pval"] > 0.05


def test_dead_dimension_is_flagged_however_well_it_separates():
    adata = wi.datasets.simulate_factors(100, 20, 3, n_cell_types=2)
    z = adata.obsm["true_factors"]
    adata.obsm["collapsed"] = np.c_[1e-3 * z[:, 0], z[:, 1:]]
    with pytest.warns(UserWarning, match=r"dead .* z0 for 'type_0', z0 for 'type_1'"):
        wi.tl.rank_latent(adata, "cell_type", use_rep="collapsed", floors=[])
    result = adata.uns["rank_latent"]
    assert result["diagnostic"]["auc"].min() > 0.999
    assert not result["diagnostic"]["active"].any()
    assert list(result["correlation"]["dimensions"]) == ["z1", "z2"]
    adata.obsm["collapsed"] *= 0
    with pytest.warns(UserWarning, match="dead"):
        wi.tl.rank_latent(adata, "cell_type", use_rep="collapsed", floors=[])
    assert adata.obs["rank_latent_distance"].isna().all()
    assert not adata.obs["rank_latent_outlier"].any()
    assert (adata.uns["rank_latent"]["table"]["auc"] == 0.5).all()


def test_planted_outliers():
    adata = wi.datasets.simulate_factors(400, 10, 4, n_cell_types=3)
    planted = np.arange(0, 400, 40)
    directions = np.random.default_rng(0).normal(size=(10, 4))
    adata.obsm["true_factors"][planted] += 12 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    wi.tl.rank_latent(adata, "cell_type", use_rep="true_factors", floors=[])
    called = adata.obs["rank_latent_outlier"].to_numpy()
    is_planted = np.isin(np.arange(400), planted)
    assert called[is_planted].mean() >= 0.9
    assert called[~is_planted].mean() <= 0.01
    assert adata.obs["rank_latent_distance"].to_numpy()[is_planted].min() > 5


def test_one_dimension_two_cells_and_no_floors():
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.poisson(5, (20, 6)).astype(np.float32), obsm={"z": rng.normal(size=(20, 1))})
    adata.obs["label"] = ["a"] * 18 + ["b"] * 2
    for floors in (["pca", "ica", "fa", "gene"], []):
        wi.tl.rank_latent(adata, "label", use_rep="z", floors=floors, n_permutations=9)
        result = adata.uns["rank_latent"]
        assert result["diagnostic"]["n_folds"].tolist() == [2, 2]
        assert result["diagnostic"]["held_out_auc"].between(0, 1).all()
        assert result["correlation"]["n_active"] == 1
    assert list(result["floors"]) == ["group", "n_cells", "best_dimension", "auc", "chance_auc"]
    assert "floor_data" not in result["params"]


def test_data_frames_keep_their_names_and_seeds_repeat():
    adata = wi.datasets.simulate_factors(60, 30, 3, n_cell_types=2)
    adata.obsm["named"] = pd.DataFrame(adata.obsm["true_factors"], adata.obs_names, ["p", "q", "r"])
    first = wi.tl.rank_latent(adata, "cell_type", use_rep="named", n_permutations=19, copy=True)
    second = wi.tl.rank_latent(adata, "cell_type", use_rep="named", n_permutations=19, copy=True)
    assert "rank_latent" not in adata.uns
    assert set(first.uns["rank_latent"]["table"]["dimension"]) == {"p", "q", "r"}
    pd.testing.assert_frame_equal(first.uns["rank_latent"]["table"], second.uns["rank_latent"]["table"])


def test_survives_writing(ranked: AnnData, tmp_path: Path):
    ranked.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["rank_latent"]
    for name in ("table", "pairwise", "diagnostic", "floors", "held_out"):
        written = ranked.uns["rank_latent"][name]
        assert back[name].astype(written.dtypes).equals(written)
    assert back["params"]["n_permutations"] == 99
    assert list(back["params"]["floors"]) == ["pca", "ica", "fa", "gene"]
    assert list(back["correlation"]["pair"]) == list(ranked.uns["rank_latent"]["correlation"]["pair"])


def test_survives_writing_with_slashes_and_nothing_in_use(tmp_path: Path):
    adata = wi.datasets.simulate_factors(40, 10, 2, n_cell_types=2)
    adata.obs["state"] = np.where(adata.obs["cell_type"] == "type_0", "CD4+/CD25", "CD8+/x")
    adata.obsm["z"] = pd.DataFrame(1e-4 * adata.obsm["true_factors"], adata.obs_names, ["p", "q"])
    with pytest.warns(UserWarning, match="dead"):
        wi.tl.rank_latent(adata, "state", use_rep="z", n_permutations=9)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["rank_latent"]
    assert back["diagnostic"]["group"].tolist() == ["CD4+/CD25", "CD8+/x"]
    assert back["correlation"]["n_active"] == 0
    assert len(back["correlation"]["pair"]) == 0


@pytest.fixture
def small() -> AnnData:
    return wi.datasets.simulate_factors(20, 10, 2, n_cell_types=2)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (["a"] * 20, "only 'a'"),
        (["a"] * 19 + ["b"], "single cell: 'b'"),
        (["a"] * 10 + ["b"] * 9 + [None], "missing for 1 cell"),
        (np.linspace(0, 1, 20), "continuous"),
        (pd.Categorical(np.linspace(0, 1, 20)), r"single cell.*pd\.qcut"),
    ],
)
def test_bad_labels(small: AnnData, label: object, message: str):
    small.obs["label"] = label
    with pytest.raises(ValueError, match=message):
        wi.tl.rank_latent(small, "label", use_rep="true_factors")
    assert "rank_latent" not in small.uns


def test_other_bad_input(small: AnnData):
    with pytest.raises(KeyError, match="Did you mean 'cell_type'"):
        wi.tl.rank_latent(small, "cel_type", use_rep="true_factors")
    with pytest.raises(KeyError, match="get_latent_representation"):
        wi.tl.rank_latent(small, "cell_type")
    with pytest.raises(KeyError, match="layer='raw'"):
        wi.tl.rank_latent(small, "cell_type", use_rep="true_factors", layer="raw")
    with pytest.raises(ValueError, match="n_permutations=0"):
        wi.tl.rank_latent(small, "cell_type", use_rep="true_factors", n_permutations=0)
    small.obs["patient"] = small.obs["cell_type"].to_numpy()
    for settings, message in (
        ({"groups": "patient"}, "groups='patient' cannot be held out"),
        ({"n_splits": 1}, "n_splits=1"),
        ({"outlier_fdr": 0.0}, "outlier_fdr=0.0"),
        ({"active_variance": -1.0}, "active_variance=-1.0"),
        ({"floors": ["umap"]}, "floors="),
    ):
        with pytest.raises(ValueError, match=message):
            wi.tl.rank_latent(small, "cell_type", use_rep="true_factors", **settings)
    assert "rank_latent" not in small.uns
    small.obsm["true_factors"][3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3, column 1"):
        wi.tl.rank_latent(small, "cell_type", use_rep="true_factors")
