from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from scwhatif.metrics._class_scores import class_estimates
from scwhatif.tl._classifier_fit import (
    as_matrix,
    make_classifier,
    out_of_fold,
    parameter_counts,
    permutation_scores,
    read_out,
    replicate_scores,
)


@pytest.fixture
def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values, labels, folds and base cells of 30 cells in two states."""
    rng = np.random.default_rng(0)
    codes, groups = np.repeat([0, 1], 30), np.tile(np.arange(30), 2)
    return rng.normal(size=(60, 3)) + codes[:, None], codes, groups % 3, groups


def test_representations_of_any_kind():
    values = np.array([[1, 0], [0, 2]], dtype=np.float32)
    for each in (values, pd.DataFrame(values), sparse.csr_matrix(values)):
        found = as_matrix(each)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, values)


def test_classifiers():
    assert isinstance(make_classifier("logreg", ())[-1], LogisticRegression)
    net = make_classifier("mlp", [5, 3], seed=4)[-1]
    assert isinstance(net, MLPClassifier)
    assert (net.hidden_layer_sizes, net.random_state) == ((5, 3), 4)
    own = DecisionTreeClassifier(max_depth=2)
    made = make_classifier(own, ())[-1]
    assert made is not own
    assert made.max_depth == 2


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("hidden", [(7,), (6, 6)])
def test_parameters_are_those_of_the_fitted_net(hidden: tuple[int, ...]):
    rng = np.random.default_rng(0)
    net = make_classifier("mlp", hidden).fit(rng.normal(size=(30, 36)), np.arange(30) % 3)[-1]
    found = parameter_counts("mlp", hidden, 36, 3)
    assert found["n_params"] == sum(each.size for each in [*net.coefs_, *net.intercepts_])
    assert found["n_params_hidden_weights"] == sum(each.size for each in net.coefs_[:-1]) == 252


def test_parameters_of_two_labels_and_of_other_classifiers():
    assert parameter_counts("mlp", (7,), 36, 2) == {"n_params": 275, "n_params_hidden_weights": 252}
    assert parameter_counts("logreg", (7,), 36, 3) == {"n_params": 111, "n_params_hidden_weights": 0}
    assert parameter_counts(DecisionTreeClassifier(), (7,), 36, 3) == {}


def test_a_cell_has_no_part_in_what_is_said_of_it(cells: tuple):
    values, codes, folds, _ = cells
    classifier = make_classifier("logreg", ())
    before = out_of_fold(classifier, values, codes, folds)
    np.testing.assert_allclose(before.sum(axis=1), 1)
    moved = values.copy()
    moved[0] += 1000
    after = out_of_fold(classifier, moved, codes, folds)
    same = folds == folds[0]
    same[0] = False
    np.testing.assert_array_equal(after[same], before[same])
    assert not np.allclose(after[folds != folds[0]], before[folds != folds[0]])


def test_scores_are_of_held_out_cells(cells: tuple):
    values, codes, folds, _ = cells
    classifier = make_classifier(DecisionTreeClassifier(random_state=0), ())
    probability = out_of_fold(classifier, values, codes, folds)
    expected = class_estimates(probability, probability.argmax(axis=1), codes)
    np.testing.assert_array_equal(read_out(classifier, values, codes, folds), expected)
    # a full tree knows every cell it has seen
    assert expected[0] < 1


def test_permutations_take_the_signal_away(cells: tuple):
    values, codes, folds, groups = cells
    classifier = make_classifier("logreg", ())
    for units in (None, groups):
        found = permutation_scores(classifier, values, codes, folds, held=units, units=units, n_permutations=20, seed=1)
        assert found.shape == (20, 3)
        assert abs(found[:, 2].mean() - 0.5) < 0.1
        assert found[:, 2].max() < read_out(classifier, values, codes, folds)[2]
    assert permutation_scores(classifier, values, codes, folds, held=None, units=None, n_permutations=0).shape == (0, 3)


def test_rare_labels_are_dealt_anew_for_each_shuffle():
    """Five cells of a label in a hundred: in folds of the true labels, a shuffle might leave none to train on."""
    rng = np.random.default_rng(0)
    codes = (np.arange(100) < 4).astype(np.int64)
    folds = np.zeros(100, dtype=np.int64)
    folds[[0, 1]], folds[50:] = 1, 1
    found = permutation_scores(
        make_classifier("logreg", ()), rng.normal(size=(100, 2)), codes, folds, held=None, units=None, n_permutations=60
    )
    assert np.isfinite(found).all()


def test_replicates_are_asked_for_one_by_one(cells: tuple):
    values, codes, folds, _ = cells
    classifier = make_classifier("logreg", ())
    given = [values, values[:, :1], -values]
    found = replicate_scores(classifier, (each for each in given), codes, folds)
    np.testing.assert_array_equal(found, [read_out(classifier, each, codes, folds) for each in given])


@pytest.mark.parametrize("bad", [np.ones((59, 2)), np.ones(60), np.full((60, 2), np.nan)])
def test_bad_replicates(cells: tuple, bad: np.ndarray):
    values, codes, folds, _ = cells
    with pytest.raises(ValueError, match=r"number 1 of null_reps .* finite array of 60 cells"):
        replicate_scores(make_classifier("logreg", ()), [values, bad], codes, folds)
