import numpy as np
from sklearn.metrics import roc_auc_score

from scwhatif.model._cell_line_energy_trees import fit_trees, tree_logit


def data(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-3 * x[:, 0] * x[:, 1]))).astype(float)
    x[rng.uniform(size=n) < 0.1, 2] = np.nan
    return x, y


def test_trees_see_products_and_take_gaps():
    trees = fit_trees(*data(1500, 0), max_iter=40)
    x, y = data(500, 1)
    logit = tree_logit(trees, x)
    assert roc_auc_score(y, logit) > 0.75
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), trees.predict_proba(x)[:, 1], atol=1e-9)


def test_seeds_repeat_and_logits_are_bounded():
    x, y = data(300, 0)
    first, again = (fit_trees(x, y, seed=3, max_iter=5) for _ in range(2))
    np.testing.assert_array_equal(tree_logit(first, x), tree_logit(again, x))
    sure = fit_trees(np.repeat([[0.0], [1.0]], 200, axis=0), np.repeat([0.0, 1.0], 200), l2_regularization=0.0)
    assert np.abs(tree_logit(sure, np.array([[0.0], [1.0]]))).max() <= 12.0
