from __future__ import annotations

import numpy as np
import pytest

from scwhatif.metrics._class_scores import class_scores
from scwhatif.tl._classifier_scores import floor_scores, matched_sets, score_table


@pytest.fixture
def codes() -> np.ndarray:
    return np.repeat([0, 1], [20, 40])


def test_floors_are_read_in_the_folds(codes: np.ndarray):
    rng = np.random.default_rng(0)
    folds = np.arange(60) % 3
    features = {"library": (codes + 0.5 * rng.normal(size=60))[:, None], "integrality": np.zeros((60, 1))}
    found = floor_scores(["majority", "library", "integrality"], features, codes, folds)
    assert list(found) == ["majority", "library", "integrality"]
    np.testing.assert_allclose(found["majority"].estimate, [2 / 3, 0.5, 0.5])
    assert found["library"].estimate[2] > 0.85
    # one number for all cells leaves the shares of the training part, which name the majority
    np.testing.assert_allclose(found["integrality"].estimate[:2], [2 / 3, 0.5])


def test_table(codes: np.ndarray):
    rng = np.random.default_rng(1)
    score = codes + rng.normal(size=60)
    own = class_scores(np.c_[-score, score], (score > 0.5).astype(np.int64), codes)
    floor = class_scores(np.ones((60, 2)), np.ones(60, dtype=np.int64), codes)
    auroc = own.estimate[2]
    null = np.column_stack([np.zeros((4, 2)), [auroc, auroc - 0.1, auroc + 1e-12, 0.1]])
    table = score_table({"latent": own, "majority": floor}, [5, 0], null, codes, None)
    # ties count against the classifier
    assert table["pval"].tolist()[0] == 3 / 5
    assert np.isnan(table["pval"].tolist()[1])
    assert table["reader"].cat.categories.tolist() == ["latent", "majority"]
    assert table["n_features"].tolist() == [5, 0]
    assert table["gain"].iloc[1] == pytest.approx(auroc - 0.5)
    untested = score_table({"latent": own}, [5], np.empty((0, 3)), codes, None)
    assert untested["pval"].isna().all()


def test_matched_sets():
    drawn = np.column_stack([np.zeros((4, 2)), [0.6, 0.7, 0.8, 0.9]])
    found = matched_sets(drawn, 0.8)
    assert found == (3 / 5, pytest.approx(0.75), 4)
    with pytest.raises(ValueError, match="generator can be used only once"):
        matched_sets(np.empty((0, 3)), 0.8)
