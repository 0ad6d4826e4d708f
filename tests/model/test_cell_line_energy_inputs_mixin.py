import numpy as np
import pytest
import torch

from scwhatif.datasets import simulate_pairs
from scwhatif.model import CellLineEnergyModel
from scwhatif.model._cell_line_energy_inputs_mixin import prior_shift, shifted
from scwhatif.model._cell_line_energy_rows import PairTable, read_pairs
from scwhatif.module._cell_line_energy import (
    ENVIRONMENT_KEY,
    ENVIRONMENT_OBSERVED_KEY,
    FEATURES_KEY,
    LINE_KEY,
    OBSERVED_KEY,
)


def prepared(**kwargs):
    adata = simulate_pairs(3, 3, 8, n_missing_marks=1)
    CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    model = CellLineEnergyModel(adata, n_hidden=8, **kwargs)
    table = read_pairs(adata, model._setup, "mlp")
    training = np.arange(0, adata.n_obs, 2)
    return adata, model, table, model._prepare(table, training, 0).tensors


def test_score_reads_ranks_and_environment_reads_raw_features():
    adata, model, table, tensors = prepared(trees_weight=0.0)
    raw = np.nan_to_num(adata.X)
    np.testing.assert_array_equal(tensors[ENVIRONMENT_KEY].numpy(), raw)
    ranks = model.normalizer_.transform(adata.X, table.lines)
    np.testing.assert_allclose(tensors[FEATURES_KEY].numpy(), np.nan_to_num(ranks))
    assert tensors[FEATURES_KEY].abs().max() <= 1
    for key in (OBSERVED_KEY, ENVIRONMENT_OBSERVED_KEY):
        np.testing.assert_array_equal(tensors[key].numpy(), ~np.isnan(adata.X))
    assert tensors[LINE_KEY].unique().tolist() == [0, 1, 2]
    assert model.trees_ is None


def test_scales_of_the_environment_are_of_the_training_pairs():
    adata, model, _, _ = prepared(trees_weight=0.0, input_norm=None)
    np.testing.assert_allclose(model.module.feature_mean.numpy(), np.nanmean(adata.X[::2], axis=0), rtol=1e-4)
    assert model.normalizer_ is None


def test_trees_read_raw_and_normalised_features_of_labelled_training_pairs():
    _, model, table, _ = prepared()
    from scwhatif.model._cell_line_energy_trees import fit_trees, tree_logit

    inputs = [table.features, model.normalizer_.transform(table.features, table.lines)]
    for fitted, values in zip(model.trees_, inputs, strict=True):
        expected = fit_trees(values[::2], table.label[::2], seed=0)
        np.testing.assert_array_equal(tree_logit(fitted, values), tree_logit(expected, values))


def test_shift_of_a_sampled_share():
    lines = np.repeat(["a", "b"], 100)
    label = np.concatenate([np.arange(100) < 10, np.arange(100) < 30]).astype(float)
    pairs = PairTable(lines=lines, features=np.zeros((200, 1)), environment=np.zeros((200, 1)), label=label)
    assert prior_shift(pairs, np.arange(200), None) == 0.0
    shift = prior_shift(pairs, np.arange(200), 0.5)
    assert shift == pytest.approx(-np.log(0.2 / 0.8))
    # one half of a balanced sample is the natural share
    assert shifted(np.array([0.5]), shift)[0] == pytest.approx(0.2)
    p = np.linspace(0.01, 0.99, 9)
    np.testing.assert_allclose(shifted(p, 0.0), p)
    assert torch.isfinite(torch.from_numpy(shifted(np.array([0.0, 1.0]), shift))).all()
