"""match_genes finds what is there, and guesses nothing."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scwhatif as wi

SYMBOLS = ["TP53", "MYC", "Actb", "ACTB", "KLF1", "HLA-A"]
IDS = [f"ENSG0000000000{i}" for i in range(6)]


@pytest.fixture
def by_symbol() -> ad.AnnData:
    return ad.AnnData(np.ones((2, 6)), var=pd.DataFrame({"gene_ids": IDS}, index=SYMBOLS))


@pytest.fixture
def by_id() -> ad.AnnData:
    return ad.AnnData(np.ones((2, 6)), var=pd.DataFrame({"feature_name": pd.Categorical(SYMBOLS)}, index=IDS))


def match(adata: ad.AnnData, genes, **kwargs) -> wi.pp.GeneMatch:
    return wi.pp.match_genes(adata, genes, min_found=0, **kwargs)


@pytest.mark.parametrize(
    ("query", "var_name", "how"),
    [
        ("TP53", "TP53", "exact"),
        (" TP53 ", "TP53", "exact"),
        ("tp53", "TP53", "case"),
        ("hla-a", "HLA-A", "case"),
        ("ENSG00000000001", "MYC", "column"),
        ("ENSG00000000001.12", "MYC", "column"),
        ("ensg00000000001", "MYC", "column"),
        ("P53", "TP53", "alias"),
        ("EKLF", "KLF1", "alias"),
        ("Actb", "Actb", "exact"),
    ],
)
def test_symbols_in_var_names(by_symbol, query: str, var_name: str, how: str):
    found = match(by_symbol, [query], aliases={"p53": "TP53", "EKLF": "ENSG00000000004"})
    assert found.found == {query: var_name}
    assert found.how == {query: how}
    assert found.missing == []
    assert found.ambiguous == {}


@pytest.mark.parametrize(
    ("query", "var_name", "how"),
    [
        ("ENSG00000000002", IDS[2], "exact"),
        ("ENSG00000000002.7", IDS[2], "version"),
        ("ensg00000000002.7", IDS[2], "version"),
        ("ensg00000000002", IDS[2], "version"),
        ("MYC", IDS[1], "column"),
        ("myc", IDS[1], "column"),
    ],
)
def test_ids_in_var_names(by_id, query: str, var_name: str, how: str):
    found = match(by_id, [query])
    assert found.found == {query: var_name}
    assert found.how == {query: how}


def test_version_in_the_data_only():
    adata = ad.AnnData(np.ones((1, 2)), var=pd.DataFrame(index=["ENSMUSG00000017167.16", "ENSMUSG00000017168"]))
    found = match(adata, ["ENSMUSG00000017167", "ENSMUSG00000017167.2", "ENSMUSG00000017168.2"])
    assert list(found.found.values()) == ["ENSMUSG00000017167.16", "ENSMUSG00000017167.16", "ENSMUSG00000017168"]
    assert set(found.how.values()) == {"version"}


def test_a_dot_in_a_symbol_is_no_version():
    adata = ad.AnnData(np.ones((1, 1)), var=pd.DataFrame(index=["RP11-34P13"]))
    assert match(adata, ["RP11-34P13.7"]).missing == ["RP11-34P13.7"]


def test_nothing_is_guessed_between_candidates(by_symbol):
    found = match(by_symbol, ["actb", "X"], aliases={"X": ["TP53", "MYC", "nope"]})
    assert found.found == {}
    assert found.ambiguous == {"actb": ["Actb", "ACTB"], "X": ["TP53", "MYC"]}
    assert found.missing == []


def test_one_of_several_aliases_present(by_symbol):
    found = match(by_symbol, ["X"], aliases={"X": ["nope", "MYC"]})
    assert found.found == {"X": "MYC"}


def test_symbol_of_two_ids_is_ambiguous(by_id):
    by_id.var["feature_name"] = ["TP53", "TP53", "A", "B", "C", None]
    found = match(by_id, ["TP53", "None", "nan"])
    assert found.ambiguous == {"TP53": IDS[:2]}
    assert found.missing == ["None", "nan"]


def test_duplicated_var_names_are_ambiguous():
    with pytest.warns(UserWarning, match="not unique"):
        adata = ad.AnnData(np.ones((1, 3)), var=pd.DataFrame(index=["A", "A", "B"]))
    found = match(adata, ["A", "B"])
    assert found.ambiguous == {"A": ["A"]}
    assert found.found == {"B": "B"}


def test_exact_name_in_a_column_beats_another_case_in_var_names():
    adata = ad.AnnData(np.ones((1, 2)), var=pd.DataFrame({"symbol": ["CD4", "x"]}, index=["g1", "Cd4"]))
    assert match(adata, ["CD4"]).found == {"CD4": "g1"}


def test_by(by_id, by_symbol):
    assert match(by_id, ["MYC", IDS[0]], by="symbol").found == {"MYC": IDS[1]}
    assert match(by_id, ["MYC", IDS[0]], by="ensembl").found == {IDS[0]: IDS[0]}
    assert match(by_id, ["MYC", IDS[0]], by="feature_name").found == {"MYC": IDS[1]}
    assert match(by_symbol, ["MYC", IDS[0]], by="ensembl").found == {IDS[0]: "TP53"}
    by_id.var["mine"] = list("abcdef")
    assert match(by_id, ["c"]).missing == ["c"]
    assert match(by_id, ["c"], by="mine").how == {"c": "column"}


def test_by_unknown(by_id):
    with pytest.raises(KeyError, match=r"by='nope' is neither .*\['feature_name'\]"):
        match(by_id, ["MYC"], by="nope")
    del by_id.var["feature_name"]
    with pytest.raises(KeyError, match=r"holds gene symbols; name the column"):
        match(by_id, ["MYC"], by="symbol")


@pytest.mark.parametrize(
    ("genes", "error", "message"),
    [
        ("TP53", TypeError, r"pass \['TP53'\]"),
        (["TP53", 3], TypeError, "number 1 is 3"),
        (["TP53", np.nan], TypeError, "number 1 is nan"),
        (["TP53", " "], ValueError, r"empty name \(number 1\)"),
        ([], ValueError, "genes is empty"),
    ],
)
def test_bad_lists(by_symbol, genes, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        match(by_symbol, genes)


@pytest.mark.parametrize(
    ("n", "n_absent", "n_found", "warned"), [(41, 3, 38, False), (80, 12, 68, False), (10, 3, 7, True)]
)
def test_counts_and_warning(n: int, n_absent: int, n_found: int, *, warned: bool):
    genes = [f"GENE{i}" for i in range(n)]
    adata = ad.AnnData(
        np.ones((1, n)), var=pd.DataFrame(index=[*genes[n_absent:], *(f"X{i}" for i in range(n_absent))])
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = wi.pp.match_genes(adata, genes)
    assert (found.n_found, found.n_queried) == (n_found, n)
    assert found.missing == genes[:n_absent]
    assert [str(w.message)[:30] for w in caught] == (["only 7 of 10 genes found, fewe"] if warned else [])
    if warned:
        assert caught[0].category is UserWarning
        assert caught[0].filename == __file__


def test_frame_report_and_html(by_symbol):
    found = match(by_symbol, ["MYC", "actb", "nope", "tp53", "MYC", "<b>"])
    assert found.queried == ("MYC", "actb", "nope", "tp53", "<b>")
    assert found.var_names == ["MYC", "TP53"]
    frame = found.to_frame()
    assert frame["query"].tolist() == ["MYC", "actb", "nope", "tp53", "<b>"]
    assert frame["how"].tolist() == ["exact", "ambiguous", "missing", "case", "missing"]
    assert frame["var_name"].tolist() == ["MYC", "", "", "TP53", ""]
    assert frame["candidates"].tolist() == ["", "Actb; ACTB", "", "", ""]
    expected = "2 of 5 genes found (40%)\n  by case: 1\n  missing: nope, <b>\n  ambiguous: actb could be Actb, ACTB"
    assert found.report() == repr(found) == expected
    html = found._repr_html_()
    assert "2 of 5 genes found" in html
    assert "<b>" not in html


def test_the_match_cannot_be_reassigned(by_symbol):
    with pytest.raises(AttributeError):
        match(by_symbol, ["MYC"]).missing = []


def test_looking_writes_nothing_and_write_to_survives(by_symbol, tmp_path):
    found = match(by_symbol, ["MYC", "actb", "nope"])
    assert list(by_symbol.uns) == []
    assert list(by_symbol.var) == ["gene_ids"]
    found.write_to(by_symbol, key_added="mine")
    by_symbol.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["mine"]
    pd.testing.assert_frame_equal(back["table"].astype(object), found.to_frame(), check_index_type=False)
    assert back["params"] == {"min_found": 0, "n_queried": 3, "n_found": 1}


@given(
    names=st.lists(st.text("ABCabc1", min_size=1, max_size=4), min_size=1, max_size=8, unique=True),
    genes=st.lists(st.text("ABCabc1", min_size=1, max_size=4), min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=60)
def test_each_gene_has_one_fate(names: list[str], genes: list[str]):
    adata = ad.AnnData(np.ones((1, len(names))), var=pd.DataFrame(index=names))
    found = match(adata, genes)
    assert sorted([*found.found, *found.missing, *found.ambiguous]) == sorted(set(genes))
    assert set(found.how) == set(found.found)
    for gene in set(genes):
        alike = [n for n in names if n.casefold() == gene.casefold()]
        if gene in names:
            assert (found.found[gene], found.how[gene]) == (gene, "exact")
        elif len(alike) == 1:
            assert (found.found[gene], found.how[gene]) == (alike[0], "case")
        elif alike:
            assert found.ambiguous[gene] == alike
        else:
            assert gene in found.missing
