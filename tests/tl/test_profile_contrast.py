from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import scwhatif as wi
from scwhatif.tl._latent_state import LatentState
from scwhatif.tl._profile_contrast import ProfileSampler, posterior_draws, profile_contrast


@pytest.fixture(scope="module")
def continuous() -> tuple:
    adata = wi.datasets.simulate_factors(300, 30, 3, n_cell_types=3, likelihood="normal", seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, gene_likelihood="normal", seed=0)
    model.train(max_epochs=30, seed=0, accelerator="cpu", enable_progress_bar=False)
    return adata, model


def test_draws_come_from_the_posterior(continuous: tuple):
    adata, model = continuous
    members = np.arange(adata.n_obs) % 3 == 1
    before = torch.get_rng_state()
    draws = posterior_draws(adata, model, members, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    mean, var = (each[members] for each in model.get_latent_representation(return_dist=True))
    assert draws.shape == (25, members.sum(), 3)
    scaled = (draws - mean) / np.sqrt(var)
    assert abs(scaled.mean()) < 0.03
    assert abs(scaled.std() - 1) < 0.03
    np.testing.assert_array_equal(draws, posterior_draws(adata, model, members, seed=3))
    assert not np.array_equal(draws, posterior_draws(adata, model, members, seed=4))


def test_draws_of_a_rotated_model_are_correlated(continuous: tuple):
    """The marginal variances alone would draw from another distribution."""
    adata, model = continuous
    members = np.ones(adata.n_obs, dtype=bool)
    codes = posterior_draws(adata, model, members, seed=0) @ model.get_loadings().to_numpy().T
    model.rotate("varimax")
    try:
        rotated = posterior_draws(adata, model, members, seed=0) @ model.get_loadings().to_numpy().T
    finally:
        model.rotate(None)
    np.testing.assert_allclose(rotated, codes, atol=1e-4)


def sampler(adata, model, **settings) -> ProfileSampler:
    settings = {"reference": "mean", "held": [], "average": "latent", "n_samples": 400} | settings
    return ProfileSampler(
        partial(posterior_draws, adata, model, seed=0),
        model.decode,
        adata.n_vars,
        rng=np.random.default_rng(0),
        **settings,
    )


def test_samples_vary_as_the_theory_of_means_says(continuous: tuple):
    """A linear decoder's profile is a mean over cells: its variance is loadings' total variance over n."""
    adata, model = continuous
    members = (adata.obs["cell_type"] == "type_1").to_numpy()
    state = LatentState("type_1", "cell_type", np.zeros(3), members)
    samples = sampler(adata, model).profiles(state, adata.n_obs)
    mean, var = (each[members].astype(float) for each in model.get_latent_representation(return_dist=True))
    covariance = np.cov(mean.T, bias=True) + np.diag(var.mean(axis=0))
    loadings = model.get_loadings().to_numpy()
    expected = np.sqrt(np.einsum("gi,ij,gj->g", loadings, covariance, loadings) / members.sum())
    # 400 samples tell a standard deviation to 3.5 %
    np.testing.assert_allclose(samples.std(axis=0) / expected, 1.0, atol=0.15)
    centre = model.decode(mean.mean(axis=0)).to_numpy()[0]
    assert np.abs((samples.mean(axis=0) - centre) / expected).max() < 0.5


def test_both_averages_agree_for_continuous_features(continuous: tuple):
    adata, model = continuous
    members = (adata.obs["cell_type"] == "type_1").to_numpy()
    state = LatentState("type_1", "cell_type", np.zeros(3), members)
    a, b = (
        sampler(adata, model, average=each, n_samples=5).profiles(state, adata.n_obs) for each in ("latent", "decoded")
    )
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_pure_states_share_their_reference(continuous: tuple):
    adata, model = continuous
    nobody = np.zeros(adata.n_obs, dtype=bool)
    low, high = (LatentState(str(v), "z1", np.zeros(3), nobody, dim=1, value=v) for v in (-1.0, 2.0))
    drawn = sampler(adata, model, held=[2], n_samples=10)
    first, second = drawn.profiles(high, adata.n_obs), drawn.profiles(low, adata.n_obs)
    assert first.std(axis=0).max() > 0
    np.testing.assert_allclose(first - second, np.tile(3 * model.get_loadings()["z1"], (10, 1)), atol=1e-4)
    fixed = sampler(adata, model, reference="zero", n_samples=10).profiles(high, adata.n_obs)
    np.testing.assert_allclose(fixed, np.tile(model.decode([0.0, 2.0, 0.0]).to_numpy()[0], (10, 1)), atol=1e-6)


def test_table():
    first = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [-1.0, 5.0], [2.0, 5.0]])
    table = profile_contrast(first, np.zeros((5, 2)), pd.Index(["a", "b"]), None)
    assert list(table.columns) == ["difference", "lower", "upper", "sign_probability"]
    assert table.index.tolist() == ["a", "b"]
    assert table["difference"].tolist() == [2.0, 5.0]
    np.testing.assert_allclose(table["lower"], [-0.8, 5.0])
    np.testing.assert_allclose(table["upper"], [2.9, 5.0])
    assert table["sign_probability"].tolist() == [0.8, 1.0]
    counts = profile_contrast(np.full((4, 1), 7.0), np.full((4, 1), 1.0), pd.Index(["a"]), 1.0)
    assert counts.iloc[0].to_dict() == {"log2_fold_change": 2.0, "lower": 2.0, "upper": 2.0, "sign_probability": 1.0}
