from __future__ import annotations

from copy import copy, deepcopy

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.tl._context_model import attributable_pairs, context_pairs, pair_positions


def test_lines_and_which_were_seen(energy_pairs, energy_model):
    found = context_pairs(energy_pairs, energy_model, n_draws=2)
    assert found.names == ["line_0", "line_1", "line_2", "line_3"]
    assert found.seen == [True, True, True, False]
    np.testing.assert_array_equal(found.lines, energy_pairs.obs["cell_line"].astype(str))


def test_lines_are_seen_after_loading_too(energy_pairs, energy_model, tmp_path):
    energy_model.save(tmp_path / "model", save_anndata=False)
    loaded = wi.model.CellLineEnergyModel.load(tmp_path / "model", adata=energy_pairs)
    assert context_pairs(energy_pairs, loaded, n_draws=2).seen == [True, True, True, False]


def test_bad_input(energy_pairs, energy_model):
    with pytest.raises(TypeError, match="model is a dict, not a CellLineEnergyModel"):
        context_pairs(energy_pairs, {}, n_draws=2)
    with pytest.raises(ValueError, match="n_draws=1 must be at least 2"):
        context_pairs(energy_pairs, energy_model, n_draws=1)
    setup = {"label_key": "label", "cell_line_key": "cell_line"}
    wi.model.CellLineEnergyModel.setup_anndata(energy_pairs, **setup)
    with pytest.raises(RuntimeError, match="not trained"):
        context_pairs(energy_pairs, wi.model.CellLineEnergyModel(energy_pairs), n_draws=2)
    with pytest.raises(ValueError, match="interaction='none'"):
        context_pairs(energy_pairs, wi.model.CellLineEnergyModel(energy_pairs, interaction="none"), n_draws=2)
    early = copy(energy_model)
    early.module = deepcopy(energy_model.module)
    early.module.energy_on.fill_(value=False)
    with pytest.raises(ValueError, match="of a warm-up epoch"):
        context_pairs(energy_pairs, early, n_draws=2)
    gap = energy_pairs.copy()
    gap.obs.loc[gap.obs_names[:3], "cell_line"] = None
    with pytest.raises(ValueError, match="missing for 3 pair"):
        context_pairs(gap, energy_model, n_draws=2)
    del gap.obs["cell_line"]
    with pytest.raises(KeyError, match="cell_line"):
        context_pairs(gap, energy_model, n_draws=2)


def test_positions_of_pairs():
    np.testing.assert_array_equal(pair_positions(None, 3), [0, 1, 2])
    np.testing.assert_array_equal(pair_positions([2, 0], 3), [2, 0])
    np.testing.assert_array_equal(pair_positions(np.array([True, False, True]), 3), [0, 2])


@pytest.mark.parametrize(
    ("indices", "message"),
    [([], "no pair"), ([1, 1], "more than once"), ([3], "positions from 0 to 2"), ([0.5], "a mask of 3 pairs")],
)
def test_positions_that_cannot_be(indices, message):
    with pytest.raises(ValueError, match=message):
        pair_positions(indices, 3)


def test_a_model_without_environment_can_be_attributed(energy_pairs, energy_model):
    assert attributable_pairs(energy_pairs, energy_model) is energy_model
    with pytest.raises(TypeError, match="not a CellLineEnergyModel"):
        attributable_pairs(energy_pairs, None)
    del energy_pairs.obs["cell_line"]
    with pytest.raises(KeyError, match="cell_line_key"):
        attributable_pairs(energy_pairs, energy_model)
