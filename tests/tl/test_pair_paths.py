import numpy as np
import pytest
import torch

from scwhatif.tl._pair_network import PairNetwork
from scwhatif.tl._pair_paths import pair_paths, support_paths

ASKED = {"n_support": 32, "n_draws": 2, "seed": 0}


@pytest.fixture(scope="module")
def network(energy_model):
    return PairNetwork(energy_model.adata, energy_model, np.arange(100, 400), "score", **ASKED)


@pytest.mark.parametrize("n_baselines", [None, 3])
def test_shares_add_up(network, n_baselines):
    shares, difference = pair_paths(network, n_baselines=n_baselines, n_steps=100, seed=0)
    assert shares.shape == (300, 13)
    assert np.abs(shares.sum(1) - difference).mean() < 0.02 * np.abs(difference).mean()


def test_difference_is_that_to_the_mean_pair_of_the_line(network, energy_model):
    _, difference = pair_paths(network, n_baselines=None, n_steps=1, seed=0)
    normalized, lines = energy_model._normalized(network.table), network.table.lines
    score = energy_model.get_energies(indices=network.rows)["U"].to_numpy()
    for line in network.names:
        mean = torch.from_numpy(normalized[lines == line].mean(0, keepdims=True))
        there = network.of_features(mean, torch.ones_like(mean, dtype=torch.bool), slice(0, 1)).item()
        used = network.of_line == line
        np.testing.assert_allclose(difference[used], score[used] - there, atol=1e-4)


def test_what_was_not_measured_has_no_share(energy_model):
    adata = energy_model.adata.copy()
    adata.X[:50, 2] = np.nan
    network = PairNetwork(adata, energy_model, np.arange(40, 60), "score", **ASKED)
    for n_baselines in (None, 2):
        shares, difference = pair_paths(network, n_baselines=n_baselines, n_steps=50, seed=0)
        assert not shares[:10, 2].any()
        assert shares[10:, 2].all()
        assert np.abs(shares.sum(1) - difference).mean() < 0.05 * np.abs(difference).mean()


def test_energy_of_a_line_adds_up_over_the_features_of_its_support(network):
    for line in ("line_0", "line_2"):
        shares, explained, n_support = support_paths(network, line, n_steps=50)
        assert shares.shape == (13,)
        assert n_support == 32
        assert shares.sum() == pytest.approx(explained, rel=0.02)
