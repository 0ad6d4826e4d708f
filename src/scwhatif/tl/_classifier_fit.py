"""Classifiers of latent codes, and what they say of cells they were not fitted to."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy import sparse

from scwhatif.metrics._block_shuffle import label_sets, shuffled_blocks
from scwhatif.metrics._class_scores import SCORES, class_estimates
from scwhatif.metrics._held_out_folds import held_out_folds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

Estimator = Literal["logreg", "mlp"]

# A small net on few cells is fitted best by full batches, and needs some decay not to learn cells by heart.
_MLP = {"solver": "lbfgs", "alpha": 1.0, "max_iter": 500}


def as_matrix(representation: Any) -> NDArray[np.float64]:
    """Latent codes as numbers, whatever ``obsm`` holds them in.

    Parameters
    ----------
    representation
        Array, data frame or sparse matrix.

    Returns
    -------
    ``(n_cells, n_dims)``.
    """
    dense = representation.toarray() if sparse.issparse(representation) else representation
    return np.asarray(dense, dtype=np.float64)


def make_classifier(estimator: Estimator | BaseEstimator, hidden: Sequence[int], *, seed: int = 0) -> Pipeline:
    """Put a classifier behind a scaler, so that both are fitted to the same cells.

    Parameters
    ----------
    estimator
        ``"logreg"``, ``"mlp"``, or a classifier of scikit-learn's kind, of which a copy is used.
    hidden
        Units of each hidden layer of ``"mlp"``.
    seed
        Seed of the net's first weights.

    Returns
    -------
    The classifier, not fitted.

    Raises
    ------
    ValueError
        The name is unknown, or there is a hidden layer without units or none at all.
    TypeError
        Something else than a classifier that gives probabilities.
    """
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if isinstance(estimator, str):
        if estimator not in get_args(Estimator):
            msg = (
                f"estimator={estimator!r} must be one of {get_args(Estimator)}, or a classifier of scikit-learn's kind."
            )
            raise ValueError(msg)
        if estimator == "logreg":
            return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        layers = tuple(hidden)
        if not layers or min(layers) < 1:
            msg = f"hidden={hidden!r} must hold the number of units, at least 1, of one or more layers, such as (7,)."
            raise ValueError(msg)
        return make_pipeline(StandardScaler(), MLPClassifier(layers, random_state=seed, **_MLP))
    if isinstance(estimator, type) or not (hasattr(estimator, "fit") and hasattr(estimator, "predict_proba")):
        msg = (
            f"estimator={estimator!r} must be one of {get_args(Estimator)}, or an instance with fit and predict_proba "
            "such as sklearn.neighbors.KNeighborsClassifier()."
        )
        raise TypeError(msg)
    return make_pipeline(StandardScaler(), clone(estimator))


def parameter_counts(
    estimator: Estimator | BaseEstimator, hidden: Sequence[int], n_dims: int, n_labels: int
) -> dict[str, int]:
    """Count what is fitted, with one output per label.

    Of two labels scikit-learn fits a single logistic output, which is the same function; it is counted as two, so that
    the numbers are those of the net as it is drawn.

    Parameters
    ----------
    estimator, hidden
        As for :func:`make_classifier`.
    n_dims, n_labels
        Number of inputs and of outputs.

    Returns
    -------
    ``n_params`` (weights and biases) and ``n_params_hidden_weights`` (weights into hidden layers); nothing for a
    classifier of the caller's.
    """
    if not isinstance(estimator, str):
        return {}
    layers = [n_dims, *(hidden if estimator == "mlp" else ()), n_labels]
    into = [wide * narrow for wide, narrow in pairwise(layers)]
    return {"n_params": sum(into) + sum(layers[1:]), "n_params_hidden_weights": sum(into[:-1])}


def out_of_fold(
    classifier: Pipeline, values: NDArray[np.float64], codes: NDArray[np.int64], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Probability of each label for each cell, from a classifier that was fitted without the cell's fold.

    Parameters
    ----------
    classifier
        From :func:`make_classifier`; fitted anew for each fold.
    values
        ``(n_cells, n_dims)``.
    codes
        Label of each cell, integers from 0; each is held by two folds at least.
    folds
        Fold of each cell, integers from 0.

    Returns
    -------
    ``(n_cells, n_labels)``.
    """
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    probability = np.zeros((len(codes), int(codes.max()) + 1))
    with warnings.catch_warnings():
        # wherever the iteration has got to is a classifier, and it is judged on other cells
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fold in np.unique(folds):
            test = folds == fold
            probability[test] = clone(classifier).fit(values[~test], codes[~test]).predict_proba(values[test])
    return probability


def read_out(
    classifier: Pipeline, values: NDArray[np.float64], codes: NDArray[np.int64], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score what :func:`out_of_fold` says.

    Parameters
    ----------
    classifier, values, codes, folds
        As for :func:`out_of_fold`.

    Returns
    -------
    ``(3,)``, in the order of ``SCORES``.
    """
    probability = out_of_fold(classifier, values, codes, folds)
    return class_estimates(probability, probability.argmax(axis=1), codes)


def permutation_scores(
    classifier: Pipeline,
    values: NDArray[np.float64],
    codes: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    held: NDArray[np.int64] | None,
    units: NDArray[np.int64] | None,
    n_permutations: int,
    seed: int = 0,
    n_jobs: int | None = None,
) -> NDArray[np.float64]:
    """Scores of the same classifier after shuffling the labels.

    Labels are exchanged within units, or shuffled among them (see :func:`shuffled_blocks`). Folds stay where each of
    them keeps its labels; else cells are dealt anew for each shuffle, as they were for the true labels.

    Parameters
    ----------
    classifier, values, codes, folds
        As for :func:`out_of_fold`.
    held
        What is held out as a whole, integers from 0, or ``None``.
    units
        Between whose labels nothing but chance decides, integers from 0, or ``None`` for cells.
    n_permutations
        Number of shuffles.
    seed
        Seed of the shuffles and of the dealing.
    n_jobs
        Shuffles at a time; results do not depend on it.

    Returns
    -------
    ``(n_permutations, 3)``, in the order of ``SCORES``.
    """
    from joblib import Parallel, delayed

    jobs = (
        delayed(_shuffled_scores)(classifier, values, codes, folds, held, units, (seed, index))
        for index in range(n_permutations)
    )
    return _stacked(Parallel(n_jobs=n_jobs)(jobs))


def replicate_scores(
    classifier: Pipeline,
    replicates: Iterable[Any],
    codes: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    n_jobs: int | None = None,
) -> NDArray[np.float64]:
    """Scores of the same classifier on other representations of the same cells.

    Parameters
    ----------
    classifier, codes, folds
        As for :func:`out_of_fold`.
    replicates
        One representation after another, cells × dimensions; a generator is asked for the next as it is needed.
    n_jobs
        Replicates at a time; results do not depend on it.

    Returns
    -------
    ``(n_replicates, 3)``, in the order of ``SCORES``.

    Raises
    ------
    ValueError
        A representation is not one finite row of numbers per cell.
    """
    from joblib import Parallel, delayed

    checked = (_checked_replicate(each, i, len(codes)) for i, each in enumerate(replicates))
    return _stacked(Parallel(n_jobs=n_jobs)(delayed(read_out)(classifier, each, codes, folds) for each in checked))


def _checked_replicate(values: Any, i: int, n_cells: int) -> NDArray[np.float64]:
    matrix = as_matrix(values)
    if matrix.ndim != 2 or len(matrix) != n_cells or not np.isfinite(matrix).all():
        msg = (
            f"number {i} of null_reps has shape {matrix.shape}; each must be a finite array of {n_cells} cells × "
            "dimensions, rows in the order of adata, from perturbing the same base cells with other genes."
        )
        raise ValueError(msg)
    return matrix


def _shuffled_scores(
    classifier: Pipeline,
    values: NDArray[np.float64],
    codes: NDArray[np.int64],
    folds: NDArray[np.int64],
    held: NDArray[np.int64] | None,
    units: NDArray[np.int64] | None,
    seed: tuple[int, int],
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    if units is not None and (label_sets(codes, units).sum(axis=1) > 1).any():
        return read_out(classifier, values, shuffled_blocks(codes, units, rng), folds)
    n_splits = int(folds.max()) + 1
    # whatever cannot be dealt into as many folds as the true labels were is drawn again
    while True:
        shuffled = shuffled_blocks(codes, units, rng)
        dealt = held_out_folds(shuffled, n_splits, groups=held, seed=seed[0])
        if dealt is not None and dealt.max() == n_splits - 1:
            return read_out(classifier, values, shuffled, dealt)


def _stacked(scores: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array(list(scores), dtype=np.float64).reshape(-1, len(SCORES))
