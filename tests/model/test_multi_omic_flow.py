import pytest

from scwhatif.datasets import simulate_flow
from scwhatif.model._multi_omic_flow import as_list, decoder_links, flow_order, flow_stages, gene_symbols

SETUP = {
    "drivers": "drivers",
    "others": ["cna"],
    "rna": "rna",
    "protein": "protein",
    "ptm": ["ptm_0", "ptm_1"],
    "metabolome": "metabolome",
    "likelihoods": {},
    "cis": "gene_symbol",
}


def test_order_of_the_flow():
    assert flow_order(SETUP) == ["drivers", "cna", "rna", "protein", "ptm_0", "ptm_1", "metabolome"]
    assert flow_stages({**SETUP, "drivers": None, "others": (), "ptm": "ptm_1"}) == [
        [],
        [],
        ["rna"],
        ["protein"],
        ["ptm_1"],
        ["metabolome"],
    ]
    assert as_list("ptm_1") == as_list(("ptm_1",)) == ["ptm_1"]


@pytest.fixture(scope="module")
def mdata():
    return simulate_flow(20, n_rna=12, n_protein=8, n_ptm=(5, 4), n_metabolites=4, fusion_layer=0)


def test_symbols(mdata):
    assert gene_symbols(mdata, "rna", "gene_symbol") == mdata["rna"].var_names.tolist()
    assert gene_symbols(mdata, "metabolome", "gene_symbol") == [None] * 4
    assert gene_symbols(mdata, "rna", None) == [None] * 12


def test_links_run_down_the_flow_between_features_of_the_same_gene(mdata):
    links = decoder_links(mdata, {**SETUP, "others": []})
    wanted = {("protein", "rna"), ("ptm_0", "rna"), ("ptm_0", "protein"), ("ptm_1", "rna"), ("ptm_1", "protein")}
    assert set(links) == wanted
    rna, protein = mdata["rna"], mdata["protein"]
    for j, positions in enumerate(links["protein", "rna"].tolist()):
        assert [rna.var_names[p] for p in positions] == [protein.var["parent"].iloc[j]]
    for j, positions in enumerate(links["ptm_1", "protein"].tolist()):
        assert mdata["ptm_1"].var["parent"].iloc[j] in [protein.var_names[p] for p in positions if p >= 0]


def test_binary_layers_are_no_parents(mdata):
    links = decoder_links(mdata, {**SETUP, "others": [], "likelihoods": {"rna": "bernoulli"}})
    assert set(links) == {("ptm_0", "protein"), ("ptm_1", "protein")}
    assert decoder_links(mdata, {**SETUP, "others": [], "cis": None}) == {}
