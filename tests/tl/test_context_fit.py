from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.metrics import f1_threshold
from scwhatif.tl._context_baselines import baseline_inputs, make_baseline
from scwhatif.tl._context_fit import ContextFit, fit_context, with_seed
from scwhatif.tl._context_scores import score_pairs
from scwhatif.tl._context_splits import chrom_folds, context_splits


def test_equals_fitting_by_hand():
    adata = wi.datasets.simulate_pairs(3, 5, 12)
    labels = adata.obs["label"].to_numpy(float)
    lines = adata.obs["cell_line"].astype(str).to_numpy()
    folds = chrom_folds(adata.obs["chrom"].astype(str).to_numpy(), 5)
    split = next(context_splits(lines, folds, labels >= 0, ["line_1"]))
    x = np.asarray(adata.X, dtype=float)
    inputs = baseline_inputs(["logistic", "prevalence"], x, lines, None, None)
    fit = ContextFit(labels, lines, inputs, None, {}, {}, {}, 0)
    assert fit.methods == ["logistic", "prevalence"]
    rows, predicted = fit_context(None, fit, split)
    by_hand = make_baseline("logistic", 0).fit(x[split.train], labels[split.train])
    np.testing.assert_allclose(predicted["logistic"], by_hand.predict_proba(x[split.test])[:, 1])
    assert list(predicted.index) == list(split.test)
    at_validation = by_hand.predict_proba(x[split.validation])[:, 1]
    threshold = f1_threshold(labels[split.validation], at_validation, lines[split.validation])
    row = rows.set_index("method").loc["logistic"]
    assert row["threshold"] == threshold
    for score, value in score_pairs(labels[split.test], predicted["logistic"].to_numpy(), threshold).items():
        assert row[score] == pytest.approx(value)
    assert (row["n_train"], row["n"]) == (len(split.train), len(split.test))
    assert rows.set_index("method").loc["prevalence", "lift"] == pytest.approx(1)
    assert 0 < row["validation_aupr"] < 1


def test_seed_is_given_where_it_is_wanted():
    def seeded(a: int, *, seed: int = 3) -> None: ...
    def other(a: int) -> None: ...

    assert with_seed(seeded, {"a": 1}, 7) == {"seed": 7, "a": 1}
    assert with_seed(seeded, {"seed": 5}, 7) == {"seed": 5}
    assert with_seed(other, {"a": 1}, 7) == {"a": 1}
