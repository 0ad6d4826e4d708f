from __future__ import annotations

import builtins
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, linregress

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

N_GENES, DIMS = 120, ["z0", "z1", "z2"]


@pytest.fixture
def adata() -> AnnData:
    """Loadings of noise; dimension 1 has a set at its high end, dimension 2 another at its low end."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(N_GENES, 3))
    loadings[:12, 1] += 2
    loadings[12:24, 2] -= 2
    genes = [f"gene_{i}" for i in range(N_GENES)]
    adata = ad.AnnData(np.zeros((2, N_GENES)), var=pd.DataFrame(index=genes))
    adata.varm["wi_loadings"] = pd.DataFrame(loadings, genes, DIMS)
    share = pd.DataFrame({"explained_share": [0.1, 0.6, 0.3]}, index=DIMS)
    adata.uns["wi_loadings"] = {"dimensions": share}
    return adata


@pytest.fixture
def sets(adata: AnnData) -> dict[str, list[str]]:
    genes = list(adata.var_names)
    rng = np.random.default_rng(1)
    others = {f"random {i}": list(rng.choice(genes, 15, replace=False)) for i in range(8)}
    return {"up/one": genes[:12], "down": genes[12:24], **others}


def row(adata: AnnData, dimension: str, gene_set: str) -> pd.Series:
    table = adata.uns["enrich_loadings"]["table"].set_index(["dimension", "gene_set"])
    return table.loc[(dimension, gene_set)]


class TestWithDecoupler:
    """What decoupler computes."""

    pytestmark = pytest.mark.optional

    @pytest.fixture(autouse=True)
    def _decoupler(self) -> None:
        pytest.importorskip("decoupler")

    # compiled at first use
    @pytest.mark.parametrize("method", ["ulm", pytest.param("mlm", marks=pytest.mark.slow), "zscore"])
    def test_planted_sets_are_found(self, adata: AnnData, sets: dict, method: str):
        wi.tl.enrich_loadings(adata, sets, method=method)
        table = adata.uns["enrich_loadings"]["table"]
        assert len(table) == 3 * 10
        first = table.drop_duplicates("dimension").set_index("dimension")
        assert first.loc["z1", "gene_set"] == "up/one"
        assert first.loc["z1", "score"] > 3
        assert first.loc["z2", "gene_set"] == "down"
        assert first.loc["z2", "score"] < -3
        significant = table[table["padj"] < 0.01]
        assert set(zip(significant["dimension"], significant["gene_set"], strict=True)) == {
            ("z1", "up/one"),
            ("z2", "down"),
        }
        assert (table["n_genes"] == table["gene_set"].map({name: len(each) for name, each in sets.items()})).all()
        assert first["explained_share"].tolist() == [0.1, 0.6, 0.3]

    def test_ulm_is_a_linear_regression(self, adata: AnnData, sets: dict):
        weight = {"up/one": np.linspace(-1, 2, 12)}
        net = pd.concat(
            [
                pd.DataFrame({"source": name, "target": each, "weight": weight.get(name, 1.0)})
                for name, each in sets.items()
            ]
        )
        wi.tl.enrich_loadings(adata, net)
        table = adata.uns["enrich_loadings"]["table"]
        for (dimension, name), found in table.set_index(["dimension", "gene_set"]).iterrows():
            member = np.zeros(N_GENES)
            member[adata.var_names.get_indexer(sets[name])] = weight.get(name, 1.0)
            fit = linregress(member, adata.varm["wi_loadings"][dimension])
            assert found["score"] == pytest.approx(fit.slope / fit.stderr, rel=1e-9)
            assert found["pval"] == pytest.approx(fit.pvalue, rel=1e-9)
        for _, part in table.groupby("dimension", observed=True):
            assert (np.diff(part["pval"]) >= 0).all()
            np.testing.assert_allclose(part["padj"], false_discovery_control(part["pval"]))

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["ulm", "zscore"])
    def test_equals_what_decoupler_says_of_the_same_table(self, adata: AnnData, sets: dict, method: str):
        import decoupler as dc

        net = pd.DataFrame([(name, gene) for name, each in sets.items() for gene in each], columns=["source", "target"])
        score, padj = getattr(dc.mt, method)(adata.varm["wi_loadings"].T, net=net, tmin=5)
        wi.tl.enrich_loadings(adata, sets, method=method)
        table = adata.uns["enrich_loadings"]["table"].astype({"dimension": str, "gene_set": str})
        for column, expected in (("score", score), ("padj", padj)):
            found = table.pivot(index="dimension", columns="gene_set", values=column)
            np.testing.assert_allclose(found, expected.loc[found.index, found.columns], rtol=1e-6, atol=1e-12)

    def test_sets_that_are_left_out_are_told(self, adata: AnnData, sets: dict):
        few = {"few": [*sets["down"][:4], *(f"unknown {i}" for i in range(20))], "none": ["x", "y"]}
        everything = {"everything": [*adata.var_names, "unknown"]}
        with pytest.warns(UserWarning, match=r"3 of 13 sets .*tmin=5.*: few, none, everything"):
            wi.tl.enrich_loadings(adata, sets | few | everything)
        result = adata.uns["enrich_loadings"]
        told = result["sets"].set_index("gene_set")
        assert told.loc["few", ["size", "n_genes", "tested"]].tolist() == [24, 4, False]
        assert told.loc["none", "n_genes"] == 0
        assert told.loc["down", ["size", "n_genes", "tested"]].tolist() == [12, 12, True]
        assert not told.loc["everything", "tested"]
        assert set(result["table"]["gene_set"]) == set(sets)
        assert (result["params"]["n_sets"], result["params"]["n_tested"]) == (13, 10)

    def test_all_genes_with_weights_of_their_own_are_a_set(self, adata: AnnData):
        weight = adata.varm["wi_loadings"]["z0"].to_numpy() + 0.1 * np.random.default_rng(0).normal(size=N_GENES)
        other = pd.DataFrame({"source": "signature", "target": adata.var_names, "weight": weight})
        wi.tl.enrich_loadings(adata, other)
        assert row(adata, "z0", "signature")["score"] > 50
        assert abs(row(adata, "z1", "signature")["score"]) < 3

    def test_a_dimension_without_variation(self, adata: AnnData, sets: dict):
        adata.varm["wi_loadings"]["z0"] = 0.0
        wi.tl.enrich_loadings(adata, sets)
        table = adata.uns["enrich_loadings"]["table"].set_index("dimension")
        assert table.loc["z0", ["score", "pval", "padj"]].isna().all(axis=None)
        assert table.loc["z1", ["score", "pval", "padj"]].notna().all(axis=None)

    def test_p_values_of_random_sets_are_uniform_where_genes_are_independent(self, adata: AnnData):
        rng = np.random.default_rng(0)
        random = {f"s{i}": rng.choice(adata.var_names, 12, replace=False) for i in range(300)}
        wi.tl.enrich_loadings(adata, random)
        pvals = adata.uns["enrich_loadings"]["table"].query("dimension == 'z0'")["pval"]
        assert (pvals < 0.05).mean() == pytest.approx(0.05, abs=0.03)
        assert pvals.mean() == pytest.approx(0.5, abs=0.06)

    def test_plain_arrays_of_any_model(self, adata: AnnData, sets: dict):
        adata.varm["pca"] = adata.varm["wi_loadings"].to_numpy()
        done = wi.tl.enrich_loadings(adata, sets, key="pca", key_added="mine", copy=True)
        assert "mine" not in adata.uns
        assert list(done.uns["mine"]["table"]["dimension"].cat.categories) == DIMS
        assert "explained_share" not in done.uns["mine"]["table"]

    def test_sets_that_make_up_others(self, adata: AnnData, sets: dict):
        sets = {"a": sets["down"], "b": sets["up/one"], "both": sets["down"] + sets["up/one"]}
        with pytest.raises(ValueError, match=r"3 sets over 120 genes are not linearly independent.*'ulm'"):
            wi.tl.enrich_loadings(adata, sets, method="mlm")

    def test_survives_writing(self, adata: AnnData, sets: dict, tmp_path: Path):
        wi.tl.enrich_loadings(adata, sets)
        adata.write_h5ad(tmp_path / "x.h5ad")
        back = ad.read_h5ad(tmp_path / "x.h5ad").uns["enrich_loadings"]
        for name in ("table", "sets"):
            written = adata.uns["enrich_loadings"][name]
            assert back[name].astype(written.dtypes).equals(written)
        assert back["params"]["method"] == "ulm"
        assert back["params"]["decoupler_version"].startswith("2")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "ora"}, ValueError, r"method='ora'.*'ulm', 'mlm', 'zscore'"),
        ({"tmin": 0}, ValueError, "tmin=0"),
        ({"key": "loadings"}, KeyError, r"key='loadings' .*wi_loadings.*tl\.loadings"),
        ({"gene_sets": ["gene_1"]}, TypeError, "not list"),
        ({"gene_sets": {"a": "gene_1"}}, TypeError, "genes of set 'a' are text"),
        ({"gene_sets": {"a": ["TP53"]}}, ValueError, r"no set has tmin=5.*at most 0 are found.*match_genes"),
        ({"gene_sets": {}}, ValueError, "there is no set"),
        ({"gene_sets": pd.DataFrame({"geneset": ["a"], "target": ["b"]})}, ValueError, r"lacks .*\['source'\]"),
        (
            {"gene_sets": pd.DataFrame({"source": ["a", "a"], "target": ["gene_1", "gene_1"]})},
            ValueError,
            "'gene_1' of 'a'.*drop_duplicates",
        ),
        (
            {"gene_sets": pd.DataFrame({"source": ["a"], "target": ["gene_1"], "weight": [np.nan]})},
            ValueError,
            "missing or infinite",
        ),
    ],
)
def test_bad_input(adata: AnnData, sets: dict, change: dict[str, Any], error: type, message: str):
    arguments = {"gene_sets": sets, **change}
    with pytest.raises(error, match=message):
        wi.tl.enrich_loadings(adata, **arguments)
    assert "enrich_loadings" not in adata.uns


def test_bad_data(adata: AnnData, sets: dict):
    adata.varm["wi_loadings"].iloc[3, 1] = np.inf
    with pytest.raises(ValueError, match="row 3, column 1"):
        wi.tl.enrich_loadings(adata, sets)
    adata.var_names = ["gene_0", *adata.var_names[:-1]]
    with pytest.raises(ValueError, match="var_names_make_unique"):
        wi.tl.enrich_loadings(adata, sets)


def test_without_decoupler_the_remedy_is_named(adata: AnnData, sets: dict, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "decoupler":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'scwhatif\[enrichment\]'"):
        wi.tl.enrich_loadings(adata, sets)


def test_an_older_decoupler_is_refused(adata: AnnData, sets: dict, monkeypatch: pytest.MonkeyPatch):
    older = ModuleType("decoupler")
    older.__version__ = "1.9.2"
    monkeypatch.setitem(sys.modules, "decoupler", older)
    with pytest.raises(ImportError, match=r"decoupler 1\.9\.2 has another interface.*decoupler>=2"):
        wi.tl.enrich_loadings(adata, sets)
