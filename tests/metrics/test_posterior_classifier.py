from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from scwhatif.metrics._posterior_classifier import fit_classifier, fit_to_posterior, posterior_probabilities


class Step:
    """Certain of label 1 above zero, and of label 0 below."""

    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        above = (values[:, 0] > 0).astype(float)
        return np.c_[1 - above, above]


def test_mean_over_the_posterior_of_a_step_is_the_normal_law():
    mean, sd = np.array([[0.0], [1.0], [-2.0]]), np.array([[1.0], [0.5], [2.0]])
    found = posterior_probabilities(Step(), mean, sd, n_samples=4000)
    np.testing.assert_allclose(found[:, 1], norm.cdf(mean / sd).ravel(), atol=0.02)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    # antithetic draws leave no error at the centre
    assert found[0, 1] == 0.5


def test_what_is_said_of_a_cell_depends_on_no_other():
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(size=(5, 3)), rng.random((5, 3))
    together = posterior_probabilities(Step(), mean, sd, n_samples=11, seed=3)
    alone = posterior_probabilities(Step(), mean[[2]], sd[[2]], n_samples=11, seed=3)
    np.testing.assert_array_equal(together[[2]], alone)


@pytest.mark.parametrize("method", ["lda", "logistic"])
def test_fitted_classifiers_separate(method: str):
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 40)
    values = rng.normal(size=(120, 3)) * 0.2 + np.eye(3)[codes] * 2
    proba = fit_classifier(values, codes, method).predict_proba(values)
    assert (proba.argmax(axis=1) == codes).all()
    if method == "lda":
        np.testing.assert_allclose(proba, LinearDiscriminantAnalysis().fit(values, codes).predict_proba(values))


def test_draws_from_dimensions_hardly_used_do_no_harm_to_what_was_fitted_to_draws():
    """Label 1 shows in means of 0 and .2 whose posteriors are as wide as the prior, and in nothing else."""
    rng = np.random.default_rng(0)
    codes = np.tile([0, 1], 200)
    mean = np.c_[rng.normal(size=400), 0.2 * codes + 0.02 * rng.normal(size=400)]
    sd = np.full_like(mean, 0.95)
    to_means = posterior_probabilities(fit_classifier(mean, codes, "lda"), mean, sd, n_samples=100)
    to_draws = posterior_probabilities(fit_to_posterior(mean, sd, codes, "lda"), mean, sd, n_samples=100)
    # one is sure of draws that are pure chance, and so ends at a half however the draws fall; the other knows
    assert np.abs(to_draws[:, 1] - 0.5).max() < 0.2
    single = fit_classifier(mean, codes, "lda").predict_proba(mean + sd * rng.normal(size=mean.shape)).max(axis=1)
    assert np.median(single) > 0.99
    assert np.abs(to_means[:, 1] - 0.5).max() < 0.3
