from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scwhatif as wi


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return wi.datasets.simulate_factors(150, 400, 4, n_cell_types=3, seed=0)


def covariates(adata: ad.AnnData) -> np.ndarray:
    x = adata.X.toarray()
    return np.column_stack([np.log((x.sum(axis=0) + 0.5) / len(x)), (x > 0).mean(axis=0)])


def test_sizes_and_no_gene_of_the_sets(adata: ad.AnnData):
    sets = {"down": list(adata.var_names[:20]), "up": list(adata.var_names[15:50])}
    draws = wi.tl.matched_gene_sets(adata, sets, n_sets=10)
    assert len(draws) == 10
    real = set(adata.var_names[:50])
    for draw in draws:
        assert [(name, len(genes)) for name, genes in draw.items()] == [("down", 20), ("up", 35)]
        assert len(set(draw["down"]) | set(draw["up"])) == 50
        # the five genes of both sets are replaced by the same five
        assert draw["down"][15:] == draw["up"][:5]
        assert not (set(draw["down"]) | set(draw["up"])) & real
    assert draws[0] != draws[1]


def test_drawn_genes_are_like_those_they_replace(adata: ad.AnnData):
    table = covariates(adata)
    expressed = np.flatnonzero((table[:, 1] > 0.5) & (table[:, 1] < 0.95))[:30]
    draws = wi.tl.matched_gene_sets(adata, {"a": list(adata.var_names[expressed])}, n_sets=20, n_neighbors=10)
    drawn = np.array([adata.var_names.get_indexer(draw["a"]) for draw in draws])
    difference = np.abs(table[drawn] - table[expressed]).mean(axis=(0, 1))
    by_chance = np.abs(table[:, None] - table[expressed]).mean(axis=(0, 1))
    assert (difference < 0.25 * by_chance).all()
    # without a bias that a score could feed on
    assert (np.abs((table[drawn] - table[expressed]).mean(axis=(0, 1))) < 0.1 * table.std(axis=0)).all()


def test_matching_on_one_covariate_alone(adata: ad.AnnData):
    table = covariates(adata)
    gene = int(np.abs(table[:, 0] - np.median(table[:, 0])).argmin())
    draws = wi.tl.matched_gene_sets(adata, {"a": [adata.var_names[gene]]}, n_sets=60, n_neighbors=3, match_on=["mean"])
    order = np.argsort(np.abs(table[:, 0] - table[gene, 0]), kind="stable")
    nearest = set(adata.var_names[order[order != gene][:3]])
    assert {draw["a"][0] for draw in draws} == nearest


def test_neighbours_run_out_last(adata: ad.AnnData):
    """Two genes that want the same single neighbour: one gets it, the other the next."""
    x = np.zeros((4, 6), dtype=np.float32)
    x[:, :] = [5, 5, 6, 8, 100, 200]
    small = ad.AnnData(x)
    draws = wi.tl.matched_gene_sets(small, {"a": ["0", "1"]}, n_sets=20, n_neighbors=1, match_on=["mean"])
    assert {tuple(sorted(draw["a"])) for draw in draws} == {("2", "3")}
    assert {draw["a"][0] for draw in draws} == {"2", "3"}


@given(seed=st.integers(0, 1000), n_sets=st.integers(1, 5))
@settings(max_examples=10, deadline=None)
def test_draws_come_from_the_seed_whatever_their_number(seed: int, n_sets: int):
    rng = np.random.default_rng(0)
    small = ad.AnnData(sparse.csr_matrix(rng.poisson(2.0, (20, 60)).astype(np.float32)))
    sets = {"a": ["3", "8", "11"]}
    few = wi.tl.matched_gene_sets(small, sets, n_sets=n_sets, seed=seed)
    assert few == wi.tl.matched_gene_sets(small, sets, n_sets=6, seed=seed)[:n_sets]


def test_layers_and_formats(adata: ad.AnnData):
    sets = {"a": list(adata.var_names[:5])}
    expected = wi.tl.matched_gene_sets(adata, sets, n_sets=3)
    other = ad.AnnData(np.ones(adata.shape), var=adata.var[[]].copy(), layers={"n": adata.X.toarray()})
    assert wi.tl.matched_gene_sets(other, sets, n_sets=3, layer="n") == expected
    other.layers["n"] = adata.X.tocsc()
    assert wi.tl.matched_gene_sets(other, sets, n_sets=3, layer="n") == expected


def test_matching_on_the_weight(adata: ad.AnnData):
    cells = adata.copy()
    wi.model.BetaLinearSCVI.setup_anndata(cells)
    model = wi.model.BetaLinearSCVI(cells, n_latent=3, seed=0)
    model.train(1, seed=0, enable_progress_bar=False, accelerator="cpu")
    norm = np.log(model.module.z_encoder.first.weight.detach().norm(dim=0).numpy())
    gene = int(np.abs(norm - np.median(norm)).argmin())
    sets = {"a": [cells.var_names[gene]]}
    draws = wi.tl.matched_gene_sets(cells, sets, model=model, n_sets=40, n_neighbors=4, match_on=["weight"])
    order = np.argsort(np.abs(norm - norm[gene]), kind="stable")
    assert {draw["a"][0] for draw in draws} == set(cells.var_names[order[order != gene][:4]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gene_sets": {"a": ["nix"]}}, KeyError, "'nix'"),
        ({"gene_sets": {"a": []}}, ValueError, "no genes"),
        ({"gene_sets": {"a": [f"gene_{i}" for i in range(250)]}}, ValueError, "250 of 400 genes, which leaves 150"),
        ({"n_sets": 0}, ValueError, "n_sets=0 must be at least 1"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors=0 must be at least 1"),
        ({"match_on": []}, ValueError, "match_on="),
        ({"match_on": "mean"}, ValueError, "match_on='mean' must hold"),
        ({"match_on": ["weight"]}, ValueError, "needs the model"),
        ({"layer": "nix"}, KeyError, "layer='nix'"),
        ({"layer": "log"}, ValueError, "looks log-normalised"),
    ],
)
def test_bad_input(adata: ad.AnnData, arguments: dict, error: type[Exception], message: str):
    adata.layers["log"] = np.log1p(adata.X.toarray() / 7)
    given = {"gene_sets": {"a": ["gene_1"]}, **arguments}
    with pytest.raises(error, match=message):
        wi.tl.matched_gene_sets(adata, **given)
