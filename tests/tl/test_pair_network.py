import numpy as np
import pytest
import torch
from scipy.special import logit

from scwhatif.tl._pair_network import ENVIRONMENT_KEY, ENVIRONMENT_OBSERVED_KEY, PairNetwork

ASKED = {"n_support": 32, "n_draws": 3, "seed": 2}
ROWS = np.array([500, 3, 4, 900])


def read(model, target):
    network = PairNetwork(model.adata, model, ROWS, target, **ASKED)
    features = torch.from_numpy(model._normalized(network.table)[ROWS])
    return network, network.of_features(features, ~features.isnan(), slice(0, 4)).detach().numpy()


@pytest.mark.parametrize("name", ["energy_model", "channel_model"])
def test_log_odds_are_those_of_the_prediction(name, request):
    model = request.getfixturevalue(name)
    expected = logit(model.predict_proba(indices=ROWS, **ASKED))
    np.testing.assert_allclose(read(model, "probability")[1], expected, rtol=1e-4, atol=1e-4)


def test_scores_and_energies_are_those_reported(energy_model, channel_model):
    network, score = read(energy_model, "score")
    table = energy_model.get_energies(indices=ROWS, **ASKED)
    np.testing.assert_allclose(score, table["U"], atol=1e-4)
    for line, energy in zip(table["cell_line"], table["R"], strict=True):
        found = [network.energy(*network.support_features(rows)).item() for rows in network.supports(line)]
        assert np.mean(found) == pytest.approx(energy, rel=1e-4)
    network, score = read(channel_model, "score")
    table = channel_model.get_energies(indices=ROWS, **ASKED)
    np.testing.assert_allclose(score, table.filter(regex="^U_").sum(axis=1), atol=1e-3)
    found = [network.energy(*network.support_features(rows)).item() for rows in network.supports("line_0")]
    own = table[table["cell_line"] == "line_0"]["intercept"]
    assert np.mean(found) == pytest.approx(-own.iloc[0], rel=1e-3)


def test_margins_have_their_link(energy_model, monkeypatch):
    from scwhatif.nn import ImmaxLoss

    margins = ImmaxLoss("fixed", rho_positive=0.5)
    monkeypatch.setattr(energy_model.module, "immax", margins)
    expected = logit(energy_model.predict_proba(indices=ROWS, **ASKED))
    np.testing.assert_allclose(read(energy_model, "probability")[1], expected, rtol=1e-3, atol=1e-3)


def test_keys_are_those_of_the_module():
    from scwhatif.module import _cell_line_energy as module

    assert (module.ENVIRONMENT_KEY, module.ENVIRONMENT_OBSERVED_KEY) == (ENVIRONMENT_KEY, ENVIRONMENT_OBSERVED_KEY)
