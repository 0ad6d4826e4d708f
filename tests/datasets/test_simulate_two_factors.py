from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from sklearn.decomposition import FastICA

import scwhatif as wi
from scwhatif import metrics


def test_published_figures_of_seed_42():
    adata = wi.datasets.simulate_two_factors()
    assert adata.shape == (1000, 50)
    assert adata.obs["condition"].value_counts().to_dict() == {"control": 503, "case": 497}
    eigenvalues = np.linalg.eigvalsh(np.cov(adata.X.T.astype(float)))[::-1]
    np.testing.assert_allclose(eigenvalues[:3], [58.36, 2.10, 0.0146], rtol=2e-3)
    w, v = adata.varm["true_loadings"].T
    assert w @ v / np.linalg.norm(w) / np.linalg.norm(v) == pytest.approx(0.904, abs=5e-4)


def test_same_draws_as_a_script_with_the_legacy_seed():
    rng = np.random.RandomState(7)
    condition, batch = rng.binomial(1, 0.5, 20), rng.normal(0, 1, 20)
    w, v = rng.normal(2, 0.5, 6), rng.normal(0.5, 0.2, 6)
    expected = np.outer(condition, w) + np.outer(batch, v) + rng.normal(0, 0.1, (20, 6))
    np.testing.assert_allclose(wi.datasets.simulate_two_factors(20, 6, seed=7).X, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", [0, np.random.default_rng(0), None])
def test_truth_is_what_is_stated(seed):
    adata = wi.datasets.simulate_two_factors(400, 30, noise_sd=0.3, seed=seed)
    factors, loadings = adata.obsm["true_factors"], adata.varm["true_loadings"]
    np.testing.assert_allclose(adata.layers["true_mean"], factors @ loadings.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(factors[:, 0], adata.obs["condition"].cat.codes)
    np.testing.assert_array_equal(factors[:, 1], adata.obs["batch_factor"])
    assert (adata.X - adata.layers["true_mean"]).std() == pytest.approx(0.3, rel=0.03)
    np.testing.assert_allclose(loadings.mean(axis=0), [2, 0.5], atol=0.4)


def test_independent_components_tell_the_factors_apart():
    adata = wi.datasets.simulate_two_factors()
    z = FastICA(2, random_state=0, whiten="unit-variance").fit_transform(adata.X)
    matched = metrics.match_dimensions(
        metrics.latent_similarity(z, adata.obsm["true_factors"], method="ASC", discrete=[True, False])
    )
    assert matched["similarity"].iloc[1] > 0.99
    # a binary factor has at most sqrt(3) / 2 in rank correlation
    assert matched["similarity"].iloc[0] > 0.86


def test_seeds():
    make = wi.datasets.simulate_two_factors
    a, b = make(30, 5, seed=np.random.default_rng(1)), make(30, 5, seed=np.random.default_rng(1))
    np.testing.assert_array_equal(a.X, b.X)
    assert not np.array_equal(make(30, 5, seed=1).X, make(30, 5, seed=2).X)
    assert make(30, 5, seed=np.int64(3)).uns["simulate_two_factors"]["params"]["seed"] == 3
    assert a.uns["simulate_two_factors"]["params"]["seed"] == "not recorded"
    np.testing.assert_array_equal(make(30, 5, noise_sd=0).X, make(30, 5).layers["true_mean"])


def test_survives_writing(tmp_path):
    adata = wi.datasets.simulate_two_factors(20, 8)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(back.X, adata.X)
    np.testing.assert_array_equal(back.layers["true_mean"], adata.layers["true_mean"])
    np.testing.assert_array_equal(back.varm["true_loadings"], adata.varm["true_loadings"])
    np.testing.assert_array_equal(back.obsm["true_factors"], adata.obsm["true_factors"])
    assert back.obs["condition"].equals(adata.obs["condition"])
    assert back.uns["simulate_two_factors"]["params"] == adata.uns["simulate_two_factors"]["params"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_obs": 0}, "n_obs=0 must be at least 1"),
        ({"n_vars": 0}, "n_vars=0 must be at least 1"),
        ({"noise_sd": -1}, "noise_sd=-1 must not be negative"),
        ({"noise_sd": np.nan}, "noise_sd=nan must not be negative"),
        ({"seed": -1}, r"seed=-1 must be in \[0, 2\*\*32\)"),
    ],
)
def test_out_of_range(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        wi.datasets.simulate_two_factors(**kwargs)
