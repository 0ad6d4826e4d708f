from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

import scwhatif as wi
from scwhatif.tl._rank_latent import _adjusted

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
    assert all((np.diff(part["auc"]) <= 0).all() for _, part in table.groupby("group", sort=False))
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
    pd.testing.assert_frame_equal(
        dense.uns["rank_latent"]["floors"], ranked.uns["rank_latent"]["floors"], check_exact=False, rtol=1e-3
    )


def test_pvalues_are_uniform_without_structure():
    """The best of five dimensions, over many random labels: max-statistic p-values must be uniform, not small."""
    rng = np.random.default_rng(0)
    best = []
    for seed in range(150):
        adata = ad.AnnData(rng.poisson(5, (40, 8)).astype(np.float32), obsm={"noise": rng.normal(size=(40, 5))})
        adata.obs["label"] = rng.permutation(np.repeat(["a", "b"], 20))
        wi.tl.rank_latent(adata, "label", use_rep="noise", n_permutations=39, seed=seed)
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


def test_adjustment_by_hand():
    # groups' best p-values .01, .02, .5: Benjamini–Hochberg gives .03, .03, .5
    pval = np.array([[0.01, 0.02, 0.5], [0.015, 0.3, 0.9]])
    np.testing.assert_allclose(_adjusted(pval), [[0.03, 0.03, 0.5], [0.03, 0.45, 0.9]])


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
    for name in ("table", "floors"):
        written = ranked.uns["rank_latent"][name]
        assert back[name].astype(written.dtypes).equals(written)
    assert back["params"]["n_permutations"] == 99


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
    small.obsm["true_factors"][3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3, column 1"):
        wi.tl.rank_latent(small, "cell_type", use_rep="true_factors")
