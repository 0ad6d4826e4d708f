"""What a classifier says of a cell whose code is known only up to a posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Method = Literal["lda", "logistic"]


class Classifier(Protocol):
    """What scikit-learn's classifiers offer."""

    def predict_proba(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each label.

        Parameters
        ----------
        values
            ``(n_cells, n_dims)``.

        Returns
        -------
        ``(n_cells, n_labels)``.
        """


def fit_classifier(values: NDArray[np.float64], codes: NDArray[np.int64], method: Method) -> Classifier:
    """Fit scikit-learn's classifier to codes.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``.
    codes
        Label of each cell.
    method
        ``"lda"`` (linear discriminant analysis) or ``"logistic"`` (regression on standardised values).

    Returns
    -------
    The classifier.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if method == "lda":
        return LinearDiscriminantAnalysis().fit(values, codes)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(values, codes)


def fit_to_posterior(
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    codes: NDArray[np.int64],
    method: Method,
    *,
    n_draws: int = 10,
    seed: int = 0,
) -> Classifier:
    """Fit a classifier that will be asked about draws: to draws.

    One fitted to posterior means takes dimensions in which these hardly vary at their face value, and goes astray
    where draws scatter much more widely than means.

    Parameters
    ----------
    mean, sd
        Of the posterior, independent over dimensions, ``(n_cells, n_dims)``.
    codes
        Label of each cell.
    method
        As in :func:`fit_classifier`.
    n_draws
        Draws per cell.
    seed
        Seed of the draws.

    Returns
    -------
    The classifier.
    """
    rng = np.random.default_rng(seed)
    draws = mean + sd * rng.normal(size=(n_draws, *mean.shape))
    return fit_classifier(draws.reshape(-1, mean.shape[1]), np.tile(codes, n_draws), method)


def posterior_probabilities(
    classifier: Classifier, mean: NDArray[np.float64], sd: NDArray[np.float64], *, n_samples: int, seed: int = 0
) -> NDArray[np.float64]:
    r"""Mean over the posterior of a classifier's probabilities.

    .. math::
        p(y \mid x) = \int p(y \mid z)\, q(z \mid x)\, dz

    by Monte Carlo with antithetic pairs of draws. Draws are the same for every cell, so that what is said of a cell
    does not depend on which others are asked about.

    Parameters
    ----------
    classifier
        Gives :math:`p(y \mid z)`.
    mean, sd
        Of the posterior, independent over dimensions, ``(n_cells, n_dims)``.
    n_samples
        Number of draws, rounded up to an even number.
    seed
        Seed of the draws.

    Returns
    -------
    ``(n_cells, n_labels)``; rows add up to 1.
    """
    half = np.random.default_rng(seed).normal(size=((n_samples + 1) // 2, mean.shape[1]))
    noise = np.concatenate([half, -half])
    total = sum(classifier.predict_proba(mean + sd * each) for each in noise)
    return np.asarray(total) / len(noise)
