"""The simulation follows the model it states, and its truth can be read back."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scwhatif as wi
from scwhatif import _validation

LIKELIHOODS = ["nb", "poisson", "normal"]


def eta(adata: ad.AnnData) -> np.ndarray:
    """The linear predictor, from the recorded truth."""
    effects = adata.varm["true_batch_effect"].T[adata.obs["batch"].cat.codes]
    return adata.var["baseline"].to_numpy() + adata.obsm["true_factors"] @ adata.varm["true_loadings"].T + effects


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_rate_is_the_stated_formula(likelihood: str):
    adata = wi.datasets.simulate_factors(150, 60, 5, likelihood=likelihood, n_batches=3)
    predictor = eta(adata)
    if likelihood == "normal":
        expected = predictor
    else:
        share = np.exp(predictor)
        expected = adata.obs["library_size"].to_numpy()[:, None] * share / share.sum(1, keepdims=True)
    np.testing.assert_allclose(adata.layers["true_rate"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_least_squares_on_true_rates_gives_the_loadings(likelihood: str):
    adata = wi.datasets.simulate_factors(400, 100, 6, likelihood=likelihood, n_batches=3)
    rate = adata.layers["true_rate"].astype(np.float64)
    y = rate if likelihood == "normal" else np.log(rate)
    y -= y.mean(axis=1, keepdims=True)
    batch = pd.get_dummies(adata.obs["batch"]).to_numpy(dtype=float)
    design = np.hstack([adata.obsm["true_factors"], batch])
    solution = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(solution[:6].T, adata.varm["true_loadings"], atol=1e-6)
    offsets = adata.var["baseline"].to_numpy()[:, None] + adata.varm["true_batch_effect"]
    np.testing.assert_allclose(solution[6:].T, offsets, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["nb", "poisson"])
def test_moments_of_counts(likelihood: str):
    adata = wi.datasets.simulate_factors(4000, 60, 4, likelihood=likelihood, library_size=2000, seed=1)
    x, mean = adata.X.toarray().astype(float), adata.layers["true_rate"].astype(float)
    variance = mean + (mean**2 / adata.var["dispersion"].to_numpy() if likelihood == "nb" else 0)
    z = (x - mean).sum(0) / np.sqrt(variance.sum(0))
    assert np.abs(z).max() < 4
    # squared standardised residuals average to 1 in every gene
    ratio = ((x - mean) ** 2 / variance).mean(0)
    assert np.abs(ratio - 1).max() < 0.35
    assert abs(ratio.mean() - 1) < 0.03
    if likelihood == "nb":
        assert ((x - mean) ** 2 / mean).mean() > 3


def test_moments_of_normal():
    adata = wi.datasets.simulate_factors(3000, 40, 4, likelihood="normal", noise_sd=0.7)
    residual = adata.X - adata.layers["true_rate"]
    assert abs(residual.mean()) < 4 * 0.7 / np.sqrt(residual.size)
    np.testing.assert_allclose(residual.std(0), 0.7, rtol=0.06)
    assert "library_size" not in adata.obs
    assert "dispersion" not in adata.var


def test_library_size_is_log_normal():
    adata = wi.datasets.simulate_factors(4000, 40, 4, library_size=3000, library_sd=0.4)
    log = np.log(adata.obs["library_size"])
    assert log.mean() == pytest.approx(np.log(3000), abs=4 * 0.4 / np.sqrt(4000))
    assert log.std() == pytest.approx(0.4, rel=0.05)
    np.testing.assert_allclose(adata.layers["true_rate"].sum(1), adata.obs["library_size"], rtol=1e-5)


def test_programmes_belong_to_their_cell_type():
    adata = wi.datasets.simulate_factors(4000, 30, 6, n_cell_types=4, separation=3.0)
    means = pd.DataFrame(adata.obsm["true_factors"]).groupby(adata.obs["cell_type"].to_numpy()).mean().to_numpy()
    expected = np.zeros((4, 6))
    expected[[0, 1, 2], [0, 1, 2]] = 3.0
    np.testing.assert_allclose(means, expected, atol=0.15)
    within = pd.DataFrame(adata.obsm["true_factors"]).groupby(adata.obs["cell_type"].to_numpy()).std().to_numpy()
    np.testing.assert_allclose(within[:, :3], 0.25, rtol=0.1)
    np.testing.assert_allclose(within[:, 3:], 1.0, rtol=0.1)


def test_dispersion_is_around_its_median():
    theta = wi.datasets.simulate_factors(10, 4000, 2, n_cell_types=2, dispersion=7).var["dispersion"]
    assert theta.median() == pytest.approx(7, rel=0.03)
    assert np.log(theta).std() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("batch_effect", [0.0, 0.2, 1.0])
def test_batch_effect_has_the_stated_size(batch_effect: float):
    adata = wi.datasets.simulate_factors(300, 2000, 4, n_batches=3, batch_effect=batch_effect)
    effects = adata.varm["true_batch_effect"]
    assert effects.shape == (2000, 3)
    np.testing.assert_allclose(effects.std(0), batch_effect, rtol=0.05)
    assert adata.obs["batch"].value_counts().tolist() == [100, 100, 100]


def test_loadings_are_sparse_and_nearly_orthogonal():
    loadings = wi.datasets.simulate_factors(10, 1000, 8, loading_density=0.1, loading_scale=0.5).varm["true_loadings"]
    assert ((loadings != 0).sum(0) == 100).all()
    np.testing.assert_allclose([column[column != 0].std() for column in loadings.T], 0.5, rtol=0.2)
    unit = loadings / np.linalg.norm(loadings, axis=0)
    assert np.abs(unit.T @ unit - np.eye(8)).max() < 4 / np.sqrt(1000)


@given(
    n_vars=st.integers(2, 30),
    n_factors=st.integers(1, 5),
    n_batches=st.integers(1, 4),
    density=st.floats(0.01, 1),
    likelihood=st.sampled_from(LIKELIHOODS),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=40)
def test_truth_is_identifiable_and_counts_are_counts(n_vars, n_factors, n_batches, density, likelihood, seed):
    adata = wi.datasets.simulate_factors(
        12,
        n_vars,
        n_factors,
        n_cell_types=n_factors + 1,
        n_batches=n_batches,
        loading_density=density,
        likelihood=likelihood,
        seed=seed,
    )
    for truth in (adata.varm["true_loadings"], adata.varm["true_batch_effect"], adata.var["baseline"].to_numpy()):
        np.testing.assert_allclose(truth.sum(axis=0), 0, atol=1e-9)
    if likelihood == "normal":
        assert isinstance(adata.X, np.ndarray)
        _validation.check_finite(adata.X, name="X")
    else:
        assert sparse.issparse(adata.X)
        _validation.check_counts(adata.X, name="X")
        assert (adata.layers["true_rate"] > 0).all()
    assert adata.X.dtype == np.float32


def test_seed_reproduces_and_generators_are_accepted():
    make = wi.datasets.simulate_factors
    a, b = make(50, 30, 4, seed=3), make(50, 30, 4, seed=np.random.default_rng(3))
    assert abs(a.X - b.X).max() == 0
    pd.testing.assert_frame_equal(a.obs, b.obs)
    assert abs(a.X - make(50, 30, 4, seed=4).X).max() > 0
    assert abs(make(50, 30, 4, seed=None).X - make(50, 30, 4, seed=None).X).max() > 0
    assert a.uns["simulate_factors"]["params"]["seed"] == 3
    assert b.uns["simulate_factors"]["params"]["seed"] == "not recorded"


def test_truth_does_not_depend_on_likelihood_or_library():
    one = wi.datasets.simulate_factors(50, 30, 4)
    for other in (
        wi.datasets.simulate_factors(50, 30, 4, likelihood="normal"),
        wi.datasets.simulate_factors(50, 30, 4, likelihood="poisson", library_size=100),
    ):
        for truth in (lambda a: a.obsm["true_factors"], lambda a: a.varm["true_loadings"], eta):
            np.testing.assert_array_equal(truth(one), truth(other))
        assert other.obs["cell_type"].equals(one.obs["cell_type"])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_survives_writing(likelihood: str, tmp_path):
    adata = wi.datasets.simulate_factors(20, 15, 4, likelihood=likelihood)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert abs(back.X - adata.X).max() == 0
    assert back.uns["simulate_factors"]["params"] == adata.uns["simulate_factors"]["params"]
    np.testing.assert_array_equal(back.obsm["true_factors"], adata.obsm["true_factors"])
    np.testing.assert_array_equal(back.varm["true_batch_effect"], adata.varm["true_batch_effect"])
    np.testing.assert_array_equal(back.layers["true_rate"], adata.layers["true_rate"])
    assert back.obs["cell_type"].equals(adata.obs["cell_type"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"likelihood": "zinb"}, r"likelihood='zinb' must be one of \('nb', 'poisson', 'normal'\)"),
        ({"n_obs": 0}, "n_obs=0 must be at least 1"),
        ({"n_factors": 2, "n_cell_types": 4}, "needs at least 3 factors.*not n_factors=2"),
        ({"library_size": 0.0}, "library_size=0.0 must be positive"),
        ({"noise_sd": -1.0}, "noise_sd=-1.0 must not be negative"),
        ({"batch_effect": np.nan}, "batch_effect=nan must not be negative"),
        ({"loading_density": 0.0}, r"loading_density=0\.0 must be in \(0, 1\]"),
    ],
)
def test_out_of_range(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        wi.datasets.simulate_factors(**kwargs)
