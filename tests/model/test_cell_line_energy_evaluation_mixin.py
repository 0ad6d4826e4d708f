import numpy as np
import pytest

from scwhatif.datasets import simulate_pairs
from scwhatif.model import CellLineEnergyModel
from scwhatif.model._cell_line_energy_evaluation_mixin import Environments

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
SMALL = {"n_latent": 8, "n_hidden": 8, "n_environment": 4, "embedding": "none"}
DRAWS = {"n_support": 16, "n_draws": 3, "seed": 4}


@pytest.fixture(scope="module")
def model():
    adata = simulate_pairs(3, 3, 10)
    CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line", chrom_key="chrom")
    model = CellLineEnergyModel(adata, loss="theory", **SMALL)
    model.train(4, train_size=0.6, plan_kwargs={"lr": 1e-2, "restore_best": False}, early_stopping=False, **SILENT)
    return model


def test_probabilities_in_lines_are_those_of_single_calls(model):
    rows = np.array([400, 3, 7, 150])
    found = model._probabilities_in(model.adata, rows, ["line_2", "line_0"], **DRAWS)
    assert list(found) == [None, "line_2", "line_0"]
    for line, (mean, draws) in found.items():
        asked = {"indices": rows, "environment_of": line, **DRAWS}
        np.testing.assert_array_equal(mean, model.predict_proba(**asked))
        np.testing.assert_array_equal(draws, model.predict_proba(each_draw=True, **asked))


def test_pairs_are_scored_once_and_each_line_is_read_once(model, monkeypatch):
    scored, read, grown = [], [], []
    originals = model._encode, model._environment_codes, model._tree_logits

    def encode(tensors, rows):
        scored.append(len(rows))
        return originals[0](tensors, rows)

    def codes(table, tensors, line, *args):
        read.append(line)
        return originals[1](table, tensors, line, *args)

    def trees(table, rows):
        grown.append(len(rows))
        return originals[2](table, rows)

    monkeypatch.setattr(model, "_encode", encode)
    monkeypatch.setattr(model, "_environment_codes", codes)
    monkeypatch.setattr(model, "_tree_logits", trees)
    model._probabilities_in(model.adata, np.arange(60), ["line_0", "line_1", "line_2"], **DRAWS)
    assert sorted(read) == ["line_0", "line_1", "line_2"]
    assert grown == [60]
    # the pairs, and 16 support pairs per line and draw
    assert sorted(scored) == [16] * 9 + [60]


def test_logits_of_environments_by_hand():
    slope = np.array([[[2.0], [1.0]], [[4.0], [1.0]]])
    found = Environments(slope, np.array([[0.0, 1.0], [2.0, 1.0]]), np.ones((2, 2)))
    score, code = np.array([[1.0], [3.0]]), np.array([0, 1])
    np.testing.assert_array_equal(found.logit(score, code), [[2.0, 4.0], [6.0, 4.0]])
    np.testing.assert_array_equal(found.mean().logit(score, code), [[4.0, 4.0]])
