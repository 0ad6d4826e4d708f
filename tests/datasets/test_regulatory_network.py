from __future__ import annotations

import numpy as np
import pytest

from scwhatif.datasets._regulatory_network import RegulatoryNetwork


@pytest.fixture
def network() -> RegulatoryNetwork:
    return RegulatoryNetwork.draw(np.random.default_rng(0), 60, (2, 3, 1), 5, 4, 1.5, 0.3)


def test_genes_stand_in_the_order_of_their_roles(network: RegulatoryNetwork):
    names, roles = network.genes()
    assert (network.n_single, network.n_drivers, network.pairs) == (5, 7, [[5, 6]])
    assert names[:8] == [
        *("master_0", "master_1"),
        *(f"regulator_{i}" for i in range(3)),
        *("redundant_0a", "redundant_0b", "target_0"),
    ]
    assert roles.value_counts().tolist() == [2, 3, 2, 30, 4, 19]
    assert (network.direct()[5] == network.direct()[6]).all()


def test_drivers_at_their_baseline_are_at_rest(network: RegulatoryNetwork):
    activity, process = network.run(np.zeros((1, 7)), [])
    np.testing.assert_allclose(process[0], network.resting)
    np.testing.assert_allclose(activity[0], [0.5] * 5 + [1 / 1.1] * 2)


def test_a_knockout_takes_its_process_away_and_that_of_a_pair_needs_both(network: RegulatoryNetwork):
    own = np.random.default_rng(1).normal(0, 0.3, (20, 7))
    activity, process = network.run(own, [2, 5])
    assert not activity[:, [2, 5]].any()
    assert not process[:, 2].any()
    np.testing.assert_array_equal(process[:, 5], activity[:, 6])
    assert not network.run(own, [5, 6])[1][:, 5].any()


def test_effects_are_those_of_running_without(network: RegulatoryNetwork):
    own = np.random.default_rng(1).normal(0, 0.3, (20, 7))
    found = network.knockout_effects(own, [[0], [5, 6]])
    for row, knocked in zip(found, ([0], [5, 6]), strict=True):
        wanted = ((network.run(own, knocked)[1] - network.run(own, [])[1]) @ network.weights.T).mean(axis=0)
        wanted[knocked] = 0
        np.testing.assert_allclose(row, wanted, atol=1e-12)
    # a master reaches the targets of the regulator it keeps up
    assert found[0][np.flatnonzero(network.weights[:, 2])].all()
