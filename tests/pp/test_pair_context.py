from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scwhatif as wi

PLACES = {end: ["cell_line", "chrom", f"{end}_start", f"{end}_end"] for end in ("promoter", "enhancer")}


@pytest.fixture(scope="module")
def pairs() -> ad.AnnData:
    return wi.datasets.simulate_pairs(3, 2, 12, n_marks=2, n_missing_marks=1, seed=1)


@pytest.fixture(scope="module")
def wider(pairs: ad.AnnData) -> ad.AnnData:
    return wi.pp.pair_context(pairs)


def naive(adata: ad.AnnData, feature: str, end: str) -> np.ndarray:
    """Rank of each pair among the candidates of its locus, pair by pair."""
    values, places = adata.obs_vector(feature), adata.obs[PLACES[end]].astype(str).agg("|".join, axis=1).to_numpy()
    found = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        others = [v for v, place in zip(values, places, strict=True) if place == places[i] and not np.isnan(v)]
        if not np.isnan(value):
            found[i] = (sum(v < value for v in others) + sum(v == value for v in others) / 2) / len(others)
    return found


def test_ranks_and_counts_equal_a_loop(pairs: ad.AnnData, wider: ad.AnnData):
    for end, names in wider.uns["pair_context"]["features"].items():
        for name in names:
            np.testing.assert_allclose(wider.obs_vector(f"{end}_rank|{name}"), naive(pairs, name, end), atol=1e-6)
        places = pairs.obs[PLACES[end]].astype(str).agg("|".join, axis=1)
        np.testing.assert_array_equal(wider.obs_vector(f"{end}_candidates"), places.map(places.value_counts()))


def test_what_candidates_have_in_common_is_not_ranked(pairs: ad.AnnData, wider: ad.AnnData):
    region = pairs.var["region"]
    found = wider.uns["pair_context"]["features"]
    for end in ("promoter", "enhancer"):
        assert list(found[end]) == list(pairs.var_names[region != end])
    # a slip of rounding at one promoter is no difference
    slipped = wi.datasets.simulate_pairs(8, 4, 12, n_marks=2)
    slipped.X[0, list(slipped.var_names).index("mark_0|promoter")] += 1e-6
    assert "mark_0|promoter" not in wi.pp.pair_context(slipped).uns["pair_context"]["features"]["promoter"]


def test_the_rest_is_carried_over(pairs: ad.AnnData, wider: ad.AnnData):
    np.testing.assert_array_equal(wider.X[:, : pairs.n_vars], pairs.X)
    assert wider.X.dtype == np.float32
    pd.testing.assert_frame_equal(wider.obs, pairs.obs)
    np.testing.assert_array_equal(wider.obsm["true_utility"], pairs.obsm["true_utility"])
    assert "simulate_pairs" in wider.uns
    assert "pair_context" not in pairs.uns
    pd.testing.assert_frame_equal(wider.var.iloc[: pairs.n_vars], pairs.var)
    assert wider.var.loc["promoter_rank|mark_1|window"].tolist() == ["mark_1", "window"]
    assert wider.var.loc["promoter_candidates"].isna().all()


def test_ranked_by_a_layer_and_every_layer_grows(pairs: ad.AnnData, wider: ad.AnnData):
    adata = pairs.copy()
    adata.layers["turned"] = -adata.X
    adata.uns["_scvi_uuid"] = "x"
    turned = wi.pp.pair_context(adata, layer="turned")
    name = "promoter_rank|log10_distance"
    np.testing.assert_allclose(turned.obs_vector(name), 1 - wider.obs_vector(name), atol=1e-6)
    np.testing.assert_array_equal(turned.layers["turned"][:, adata.n_vars :], turned.X[:, adata.n_vars :])
    np.testing.assert_array_equal(turned.layers["turned"][:, : adata.n_vars], -adata.X)
    assert "_scvi_uuid" not in turned.uns


def test_reads_neither_labels_nor_other_lines_nor_other_chromosomes(pairs: ad.AnnData, wider: ad.AnnData):
    some = ((pairs.obs["cell_line"] == "line_1") & (pairs.obs["chrom"] == "chr2")).to_numpy()
    alone = pairs[some].copy()
    del alone.obs["label"]
    taken = wider.uns["pair_context"]["features"]
    np.testing.assert_array_equal(wi.pp.pair_context(alone, features=taken).X, wider.X[some])


def test_one_end_and_no_counts(pairs: ad.AnnData, wider: ad.AnnData):
    one = wi.pp.pair_context(pairs, ends=["promoter"], counts=False)
    assert [name for name in wider.var_names if name.startswith("promoter_rank")] == list(one.var_names[pairs.n_vars :])
    named = wi.pp.pair_context(pairs, ends=["enhancer"], features={"enhancer": ["log10_distance"]})
    assert list(named.var_names[pairs.n_vars :]) == ["enhancer_rank|log10_distance", "enhancer_candidates"]


def test_survives_writing_and_is_learnt_from(wider: ad.AnnData, tmp_path):
    wider.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert back.uns["pair_context"]["params"]["counts"]
    again = wi.datasets.simulate_pairs(3, 2, 12, n_marks=2, n_missing_marks=1, seed=1)
    again = wi.pp.pair_context(again, features=back.uns["pair_context"]["features"])
    np.testing.assert_array_equal(again.X, wider.X)
    assert list(again.var_names) == list(wider.var_names)


def test_baselines_read_it():
    """What decides is the rank among the candidates of a promoter, whose neighbourhood raises the mark as a whole."""
    adata = wi.datasets.simulate_pairs(3, 4, 20, shift=0, seed=3)
    rng = np.random.default_rng(0)
    rank = wi.pp.pair_context(adata).obs_vector("promoter_rank|mark_0|enhancer")
    adata.obs["label"] = (rng.uniform(size=adata.n_obs) < np.where(rank > 0.8, 0.8, 0.1)).astype(int)
    promoter = adata.obs.groupby(PLACES["promoter"], observed=True).ngroup().to_numpy()
    adata.X[:, 0] += rng.normal(scale=3, size=promoter.max() + 1)[promoter]
    auroc = {}
    for name, each in (("without", adata), ("with", wi.pp.pair_context(adata))):
        wi.tl.cross_context_validate(each, baselines=["logistic"], n_chrom_folds=4, folds=[0])
        auroc[name] = each.uns["cross_context_validate"]["table"]["auroc"].mean()
    assert auroc["with"] > auroc["without"] + 0.1


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 12), seed=st.integers(0, 1000))
def test_ranks_of_a_locus_have_the_mean_one_half(n: int, seed: int):
    values = np.random.default_rng(seed).integers(0, 4, n)
    obs = pd.DataFrame(
        {
            "cell_line": "K562",
            "chrom": "chr1",
            "promoter_start": 5,
            "promoter_end": 6,
            "enhancer_start": 10 * np.arange(n) + 10,
            "enhancer_end": 10 * np.arange(n) + 12,
        },
        index=[f"pair_{i}" for i in range(n)],
    )
    adata = ad.AnnData(values.astype(np.float32)[:, None], obs=obs, var=pd.DataFrame(index=["mark"]))
    features = {"promoter": ["mark"], "enhancer": ["mark"]}
    found = wi.pp.pair_context(adata, features=features)
    ranks = found.obs_vector("promoter_rank|mark")
    assert ranks.mean() == pytest.approx(0.5, abs=1e-6)
    assert 0 < ranks.min() <= ranks.max() < 1
    assert (found.obs_vector("enhancer_rank|mark") == 0.5).all()


@pytest.mark.parametrize(
    ("change", "settings", "error", "message"),
    [
        ({"drop": "promoter_end"}, {}, KeyError, "promoter_end"),
        ({}, {"cell_line_key": "cell_lines"}, KeyError, "Did you mean 'cell_line'"),
        ({}, {"layer": "raw"}, KeyError, "layer='raw'"),
        ({}, {"ends": ["window"]}, ValueError, "must be a list of some of"),
        ({}, {"ends": []}, ValueError, "at least one of"),
        ({}, {"features": {"promoter": []}}, ValueError, "give some for each"),
        ({}, {"ends": ["promoter"], "features": {"promoter": ["CTCF"]}}, KeyError, "'CTCF'"),
        ({"missing": "chrom"}, {}, ValueError, r"chrom_key\) is missing for 1 pair"),
    ],
)
def test_bad_input(pairs: ad.AnnData, change: dict, settings: dict, error: type[Exception], message: str):
    adata = pairs.copy()
    if "drop" in change:
        del adata.obs[change["drop"]]
    if "missing" in change:
        adata.obs.iloc[0, adata.obs.columns.get_loc(change["missing"])] = np.nan
    with pytest.raises(error, match=message):
        wi.pp.pair_context(adata, **settings)


def test_not_twice(wider: ad.AnnData):
    with pytest.raises(ValueError, match="already"):
        wi.pp.pair_context(wider)
