from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from scwhatif.metrics._auc import column_auc, folded
from scwhatif.metrics._held_out_auc import held_out_auc
from scwhatif.metrics._held_out_folds import held_out_folds


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 90)
    values = rng.poisson(1, (90, 6)).astype(float)
    values[:, 2] -= 2 * (codes == 1)
    return values, codes, held_out_folds(codes, 4)


def test_equals_a_plain_loop_with_sklearn(data: tuple):
    values, codes, folds = data
    found = held_out_auc(values, codes, 3, folds)
    for label in range(3):
        scores = []
        for fold in range(4):
            train = folds != fold
            auc = [roc_auc_score(codes[train] == label, values[train, j]) for j in range(6)]
            best = int(np.abs(np.array(auc) - 0.5).argmax())
            assert found.chosen[fold, label] == best
            sign = 1 if auc[best] >= 0.5 else -1
            scores.append(roc_auc_score(codes[~train] == label, sign * values[~train, best]))
        assert found.auc[label] == pytest.approx(np.mean(scores), abs=1e-12)
        half = t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1 / 3) * np.var(scores, ddof=1))
        assert found.low[label] == pytest.approx(max(np.mean(scores) - half, 0))
        assert found.high[label] == pytest.approx(min(np.mean(scores) + half, 1))
    assert found.chosen[:, 1].tolist() == [2, 2, 2, 2]
    assert found.sensitivity[1] + found.specificity[1] > 1.4


def test_sparse_equals_dense(data: tuple):
    values, codes, folds = data
    for dense, fast in zip(
        held_out_auc(values, codes, 3, folds), held_out_auc(sparse.csc_matrix(values), codes, 3, folds), strict=True
    ):
        np.testing.assert_allclose(dense, fast, atol=1e-12)


def test_the_best_of_many_columns_of_noise_scores_one_half():
    rng = np.random.default_rng(1)
    held_out, apparent, covered = [], [], []
    for seed in range(200):
        values, codes = rng.normal(size=(60, 50)), rng.permutation(np.repeat([0, 1], 30))
        found = held_out_auc(values, codes, 2, held_out_folds(codes, 5, seed=seed))
        held_out.append(found.auc[0])
        covered.append(found.low[0] <= 0.5 <= found.high[0])
        apparent.append(folded(column_auc(values, codes, 2)).max())
    # 600 runs give .501 ± .004
    assert np.mean(held_out) == pytest.approx(0.5, abs=0.025)
    assert np.mean(covered) > 0.87
    assert np.mean(apparent) > 0.65


def test_label_that_not_every_part_holds():
    codes = np.repeat([0, 1, 2], [40, 30, 2])
    values = codes[:, None] + np.linspace(0, 0.5, 72)[:, None]
    found = held_out_auc(values, codes, 3, held_out_folds(codes, 5))
    assert found.n_folds.tolist() == [5, 5, 2]
    assert found.auc[2] == 1
    assert (found.chosen[:, 2] == -1).sum() == 3
