import numpy as np
import pytest
from scipy.special import logit

from scwhatif.tl._pair_network import PairNetwork
from scwhatif.tl._pair_occlusion import occlude, occlude_support

ASKED = {"n_support": 32, "n_draws": 2, "seed": 0}
GROUPS = [np.array([0]), np.array([4, 5]), np.array([12])]


@pytest.mark.parametrize("name", ["energy_model", "tree_model"])
def test_equals_predictions_of_pairs_with_features_of_others(name, request):
    """Network and trees both; pair by pair, through the model."""
    model = request.getfixturevalue(name)
    adata = model.adata
    supports = PairNetwork(adata, model, np.arange(adata.n_obs), "probability", **ASKED).supports
    # pairs of two lines that are in no support set, so that the environment stays when they change
    rows = np.concatenate(
        [
            np.setdiff1d(np.flatnonzero(adata.obs["cell_line"] == line), np.concatenate(supports(line)))[:2]
            for line in ("line_3", "line_0")
        ]
    )
    network = PairNetwork(model.adata, model, rows, "probability", **ASKED)
    found = occlude(network, GROUPS, n_baselines=1, seed=5)
    rng = np.random.default_rng(5)
    lines = model.adata.obs["cell_line"].astype(str).to_numpy()
    other = np.zeros(4, dtype=int)
    for line in np.unique(lines[rows]):
        pairs = np.flatnonzero(lines[rows] == line)
        other[pairs] = rng.choice(np.flatnonzero(lines == line), len(pairs))
    before = logit(model.predict_proba(indices=rows, **ASKED))
    for g, columns in enumerate(GROUPS):
        changed = model.adata.copy()
        changed.X[np.ix_(rows, columns)] = model.adata.X[np.ix_(other, columns)]
        after = logit(model.predict_proba(changed, indices=rows, **ASKED))
        np.testing.assert_allclose(found[:, g], before - after, atol=1e-4)


def test_all_features_of_another_pair_lose_everything(energy_model):
    network = PairNetwork(energy_model.adata, energy_model, np.arange(960), "score", **ASKED)
    everything = [np.arange(energy_model.adata.n_vars)]
    lost = occlude(network, everything, n_baselines=20, seed=0)[:, 0]
    score = energy_model.get_energies()["U"].to_numpy()
    assert np.corrcoef(lost, score)[0, 1] > 0.95
    assert not occlude(network, [np.zeros(0, dtype=int)], n_baselines=1, seed=0).any()


def test_of_several_pairs_it_is_the_mean(energy_model):
    network = PairNetwork(energy_model.adata, energy_model, np.arange(960), "score", **ASKED)
    one, many = (occlude(network, GROUPS, n_baselines=n, seed=0) for n in (1, 8))
    assert many.var(0).sum() < one.var(0).sum()


def test_support_at_the_mean_of_training_loses_the_energy(energy_model):
    model = energy_model
    network = PairNetwork(model.adata, model, np.arange(4), "energy", **ASKED)
    groups = [np.arange(model.adata.n_vars), np.array([0])]
    lost, n_support = occlude_support(network, "line_2", groups)
    assert n_support == 32
    energies, without = [], []
    for rows in network.supports("line_2"):
        values, observed = network.support_features(rows)
        energies.append(network.energy(values, observed).item())
        without.append(network.energy(model.module.feature_mean.expand_as(values), observed).item())
    assert lost[0] == pytest.approx(np.mean(energies) - np.mean(without), abs=1e-5)
    assert abs(lost[1]) < abs(lost[0])
