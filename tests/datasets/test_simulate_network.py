"""The network is the one stated, and the stored consequences of knockouts are those of simulating anew."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scwhatif as wi
from scwhatif import _validation

make = wi.datasets.simulate_network
SMALL = {"n_obs": 300, "n_vars": 120, "n_regulators": 3, "n_targets": 8, "n_decoys": 12}


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return make(**SMALL)


def log_rate(adata: ad.AnnData) -> np.ndarray:
    """Log-rates up to a constant per cell, which a bystander that obeys nothing takes out."""
    rate = adata.layers["true_rate"].astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.log(rate) - np.log(rate[:, [-1]])


def genes(adata: ad.AnnData, role: str) -> list[str]:
    return adata.var_names[adata.var["role"] == role].tolist()


def test_roles(adata: ad.AnnData):
    sizes = adata.var["role"].value_counts(sort=False).to_dict()
    assert sizes == {"master": 2, "regulator": 3, "redundant": 4, "target": 56, "decoy": 12, "bystander": 43}
    assert genes(adata, "redundant") == ["redundant_0a", "redundant_0b", "redundant_1a", "redundant_1b"]
    assert adata.obsm["true_activity"].shape == (300, 9)


def test_network_has_the_stated_shape(adata: ad.AnnData):
    network = pd.DataFrame(adata.varp["true_network"].toarray(), adata.var_names, adata.var_names)
    for gene in [*genes(adata, "master"), *genes(adata, "regulator"), *genes(adata, "redundant")]:
        assert (network.loc[gene, genes(adata, "target")] != 0).sum() == 8
    assert (network.loc[genes(adata, "target") + genes(adata, "bystander")] == 0).all(axis=None)
    assert (network[genes(adata, "bystander")] == 0).all(axis=None)
    assert (network[genes(adata, "decoy")] == 0).all(axis=None)
    assert (network.loc[genes(adata, "decoy")] == 0).all(axis=None)

    assert (network.loc["redundant_0a"] == network.loc["redundant_0b"]).all()
    assert (network.loc["redundant_0a"] >= 0).all()
    masters = network.loc[genes(adata, "master"), genes(adata, "regulator")]
    np.testing.assert_array_equal(masters > 0, [[True, False, True], [False, True, False]])


def test_decoys_are_as_expressed_and_as_variable_as_drivers():
    adata = make(n_obs=2000, n_vars=300, n_regulators=20, n_masters=0, n_targets=8, n_decoys=60, n_cell_types=1, seed=1)
    log_rate = pd.DataFrame(np.log(adata.layers["true_rate"]), columns=adata.var_names)
    for summary in (log_rate.mean(), log_rate.std()):
        drivers, decoys = summary[genes(adata, "regulator")], summary[genes(adata, "decoy")]
        assert abs(drivers.mean() - decoys.mean()) < 4 * drivers.std() / np.sqrt(len(drivers))


@pytest.mark.parametrize("gene", ["master_0", "regulator_1", "redundant_0a", "target_3", "bystander_0"])
def test_stored_effect_of_a_knockout_is_that_of_simulating_without_the_gene(adata: ad.AnnData, gene: str):
    without = make(**SMALL, knockouts=[gene])
    assert without.layers["true_rate"][:, adata.var_names == gene].max() == 0
    assert without[:, gene].X.sum() == 0
    change = (log_rate(without) - log_rate(adata)).mean(axis=0)
    change[adata.var_names == gene] = 0
    stored = adata.varp["true_knockout"].toarray()[adata.var_names.get_loc(gene)]
    np.testing.assert_allclose(change, stored, atol=1e-5)
    np.testing.assert_array_equal(without.varp["true_knockout"].toarray(), adata.varp["true_knockout"].toarray())


def test_double_knockout_is_that_of_simulating_without_both(adata: ad.AnnData):
    pair = ["redundant_1a", "redundant_1b"]
    change = (log_rate(make(**SMALL, knockouts=pair)) - log_rate(adata)).mean(axis=0)
    change[adata.var_names.isin(pair)] = 0
    np.testing.assert_allclose(change, adata.varm["true_double_knockout"][:, 1], atol=1e-5)


def test_a_master_reaches_the_targets_of_its_regulators_and_no_others(adata: ad.AnnData):
    network, effect = adata.varp["true_network"].toarray(), adata.varp["true_knockout"].toarray()
    via = (network != 0).astype(int)
    reached = via[0] + via[0] @ via > 0
    np.testing.assert_array_equal(effect[0] != 0, reached)
    assert reached.sum() == 8 + 2 + 2 * 8
    # what a regulator activates falls with it, what it represses rises
    for r in range(2, 9):
        np.testing.assert_array_equal(np.sign(effect[r]), -np.sign(network[r]))


def test_one_of_a_redundant_pair_does_little_both_do_a_lot():
    adata = make()
    pairs = adata.uns["simulate_network"]["redundant_pairs"]
    assert pairs["gene_a"].tolist() == ["redundant_0a", "redundant_1a"]
    assert (pairs["both"] < -1).all()
    assert (pairs[["single_a", "single_b"]].abs() < 0.3 * pairs[["both"]].abs().to_numpy()).all(axis=None)
    targets = adata.varp["true_network"][[adata.var_names.get_loc("redundant_0a")]].toarray()[0] != 0
    assert adata.varm["true_double_knockout"][targets, 0].mean() == pytest.approx(pairs["both"].iloc[0])
    effects = adata.varp["true_knockout"].toarray()
    singles = np.abs(effects[(adata.var["role"] == "regulator").to_numpy()]).max(axis=1)
    assert (singles > 0.5).all()


def test_redundant_genes_are_silent_in_one_cell_type():
    adata = make(n_obs=1000)
    rate = pd.DataFrame(adata.layers["true_rate"], adata.obs_names, adata.var_names)
    by_type = np.log(rate[genes(adata, "redundant")]).groupby(adata.obs["cell_type"].to_numpy()).mean()
    assert by_type.idxmin().tolist() == ["type_0", "type_0", "type_1", "type_1"]
    assert make(n_obs=20, n_cell_types=1).obs["cell_type"].nunique() == 1


def test_activity_saturates_with_expression():
    # without types, donors and masters, log-rates of regulators are their baseline plus their own variation
    settings = SMALL | {"n_masters": 0, "n_decoys": 0, "n_cell_types": 1, "n_donors": 1}
    adata = make(**settings, cell_type_effect=0, donor_effect=0)
    assert (adata.var["role"] == "master").sum() == 0
    fold = log_rate(adata) - (adata.var["baseline"] - adata.var["baseline"].iloc[-1]).to_numpy()
    kappa = np.array([1] * 3 + [0.1] * 4)
    expected = np.exp(fold[:, :7]) / (np.exp(fold[:, :7]) + kappa)
    np.testing.assert_allclose(adata.obsm["true_activity"], expected, atol=1e-5)
    redundant = adata.obsm["true_activity"][:, 3:]
    process = np.hstack([adata.obsm["true_activity"][:, :3], 1 - (1 - redundant[:, ::2]) * (1 - redundant[:, 1::2])])
    resting = np.array([0.5] * 3 + [1 - (1 / 11) ** 2] * 2)
    weights = adata.varp["true_network"].toarray()[[0, 1, 2, 3, 5]]
    np.testing.assert_allclose(fold[:, 7:], ((process - resting) @ weights)[:, 7:], atol=1e-5)


def test_moments_of_counts():
    adata = make(n_obs=4000, n_vars=100, n_regulators=2, n_masters=0, n_targets=10, n_decoys=5, library_size=2000)
    x, mean = adata.X.toarray().astype(float), adata.layers["true_rate"].astype(float)
    np.testing.assert_allclose(mean.sum(axis=1), adata.obs["library_size"], rtol=1e-5)
    variance = mean + mean**2 / adata.var["dispersion"].to_numpy()
    assert np.abs((x - mean).sum(0) / np.sqrt(variance.sum(0))).max() < 4
    assert abs(((x - mean) ** 2 / variance).mean() - 1) < 0.03


@given(
    n_regulators=st.integers(0, 4),
    n_masters=st.integers(0, 3),
    n_pairs=st.integers(0, 3),
    n_targets=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=30)
def test_any_size(n_regulators: int, n_masters: int, n_pairs: int, n_targets: int, seed: int):
    n_processes = n_regulators + n_masters + n_pairs
    if n_processes == 0:
        return
    adata = make(
        10,
        70,
        n_regulators,
        n_masters=n_masters,
        n_redundant_pairs=n_pairs,
        n_targets=n_targets,
        n_decoys=5,
        library_size=1e4,
        seed=seed,
    )
    assert (adata.var["role"] == "target").sum() == n_processes * n_targets
    assert adata.varm["true_double_knockout"].shape == (70, n_pairs)
    assert ((adata.obsm["true_activity"] > 0) & (adata.obsm["true_activity"] < 1)).all()
    _validation.check_counts(adata.X, name="X")
    assert sparse.issparse(adata.X)
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.varp["true_knockout"].diagonal(), 0)


def test_seed_reproduces_and_generators_are_accepted():
    a, b = make(**SMALL, seed=3), make(**SMALL, seed=np.random.default_rng(3))
    assert abs(a.X - b.X).max() == 0
    assert abs(a.X - make(**SMALL, seed=4).X).max() > 0
    assert a.uns["simulate_network"]["params"]["seed"] == 3
    assert b.uns["simulate_network"]["params"]["seed"] == "not recorded"


def test_knockouts_leave_cells_as_they_are(adata: ad.AnnData):
    without = make(**SMALL, knockouts="master_0")
    pd.testing.assert_frame_equal(without.obs, adata.obs)
    pd.testing.assert_frame_equal(without.var, adata.var)
    assert without.uns["simulate_network"]["params"]["knockouts"].tolist() == ["master_0"]
    np.testing.assert_array_equal(without.obsm["true_activity"][:, 0], 0)
    np.testing.assert_array_equal(without.obsm["true_activity"][:, 1], adata.obsm["true_activity"][:, 1])
    assert (without.obsm["true_activity"][:, 2] < adata.obsm["true_activity"][:, 2]).all()


def test_survives_writing(adata: ad.AnnData, tmp_path):
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert abs(back.X - adata.X).max() == 0
    for key in ("true_network", "true_knockout"):
        assert abs(back.varp[key] - adata.varp[key]).max() == 0
    np.testing.assert_array_equal(back.varm["true_double_knockout"], adata.varm["true_double_knockout"])
    found, written = back.uns["simulate_network"], adata.uns["simulate_network"]
    text = {"gene_a": object, "gene_b": object}
    pd.testing.assert_frame_equal(
        found["redundant_pairs"].astype(text), written["redundant_pairs"].astype(text), check_index_type=False
    )
    assert len(found["params"].pop("knockouts")) == 0
    assert found["params"] == {key: value for key, value in written["params"].items() if key != "knockouts"}


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"n_vars": 60},
            ValueError,
            "12 processes with n_targets=20 .* n_decoys=40 .* n_vars=294 genes, not 60",
        ),
        ({"n_regulators": 0, "n_masters": 0, "n_redundant_pairs": 0}, ValueError, "need at least one process"),
        ({"n_obs": 0}, ValueError, "n_obs=0 must be at least 1"),
        ({"effect": 0.0}, ValueError, "effect=0.0 must be positive"),
        ({"regulator_sd": -1.0}, ValueError, "regulator_sd=-1.0 must not be negative"),
        ({"n_masters": -1}, ValueError, "n_masters=-1 must not be negative"),
        ({"share_repressed": 1.5}, ValueError, r"share_repressed=1.5 must be in \[0, 1\]"),
        ({"knockouts": ["TP53"]}, KeyError, r"knockouts=\['TP53'\] are not genes of this network"),
    ],
)
def test_out_of_range(kwargs: dict, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        make(**kwargs)
