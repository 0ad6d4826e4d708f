from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.signal import find_peaks, peak_widths

import scwhatif as wi
from scwhatif import metrics


@pytest.fixture(scope="module")
def spectra() -> ad.AnnData:
    return wi.datasets.simulate_spectra(400, 721, seed=1)


def test_axis_and_bands(spectra: ad.AnnData):
    wavenumber = spectra.var["wavenumber"].to_numpy()
    assert (wavenumber[0], wavenumber[-1]) == (400, 4000)
    np.testing.assert_allclose(np.diff(wavenumber), 5)
    assert spectra.var_names.is_unique
    bands = wavenumber[find_peaks(spectra.var["water"])[0]]
    np.testing.assert_allclose(bands, [1620, 3405, 3495], atol=5)
    np.testing.assert_allclose(spectra.var["baseline"].iloc[[0, -1]], [0.3, 0])


def test_truth_is_what_is_stated(spectra: ad.AnnData):
    factors, var = spectra.obsm["true_factors"], spectra.var
    for k, name in enumerate(["hydration", "crystallinity", "baseline"]):
        np.testing.assert_array_equal(spectra.obs[name], factors[:, k])
    assert factors.min() >= 0
    assert factors.max() <= 1
    width = 120 * 0.25 ** factors[:, [1]]
    lattice = sum(
        height * 60 / width / (1 + np.square((var["wavenumber"].to_numpy() - centre) / (width / 2)))
        for centre, height in ((1120, 1.0), (670, 0.4), (600, 0.35))
    )
    expected = np.outer(factors[:, 0], var["water"]) + np.outer(factors[:, 2], var["baseline"]) + lattice
    np.testing.assert_allclose(spectra.layers["true_mean"], expected, rtol=1e-5)


def test_noise_has_the_stated_spread(spectra: ad.AnnData):
    noise_sd = spectra.obs["noise_sd"].to_numpy()
    measured = (spectra.X - spectra.layers["true_mean"]).std(axis=1)
    np.testing.assert_allclose(measured, noise_sd, rtol=0.15)
    assert 0.01 <= noise_sd.min() < 0.011
    assert 0.038 < noise_sd.max() <= 0.04
    assert np.median(noise_sd) == pytest.approx(0.02, rel=0.1)


def test_crystallinity_narrows_the_lattice_band_at_constant_area():
    adata = wi.datasets.simulate_spectra(30, 3601, noise=0)
    np.testing.assert_array_equal(adata.X, adata.layers["true_mean"])
    wavenumber = adata.var["wavenumber"].to_numpy()
    dry = adata.X - np.outer(adata.obs["hydration"], adata.var["water"])
    lattice = dry - np.outer(adata.obs["baseline"], adata.var["baseline"])
    at = int(np.abs(wavenumber - 1120).argmin())
    widths = np.array([peak_widths(row, [at], rel_height=0.5)[0][0] for row in lattice])
    # the neighbouring bands lift the foot of the band
    np.testing.assert_allclose(widths, 120 * 0.25 ** adata.obs["crystallinity"], rtol=0.08)
    total = lattice.sum(axis=1)
    assert total.std() / total.mean() < 0.05


def test_each_linear_factor_can_be_read_off_a_wavenumber_and_crystallinity_cannot_be_linear(spectra: ad.AnnData):
    mean = spectra.layers["true_mean"].astype(float)
    wavenumber = spectra.var["wavenumber"].to_numpy()
    at = [int(np.abs(wavenumber - each).argmin()) for each in (3405, 1120)]
    z = np.column_stack([mean[:, at[0]], mean[:, at[1]]])
    similarity = metrics.latent_similarity(z, spectra.obsm["true_factors"], method="ASC").to_numpy()
    assert similarity[0, 0] > 0.95
    assert similarity[1, 1] > 0.95
    # what crystallinity does takes more than one dimension
    residual = mean - np.outer(spectra.obs["hydration"], spectra.var["water"])
    residual -= np.outer(spectra.obs["baseline"], spectra.var["baseline"])
    singular = np.linalg.svd(residual - residual.mean(axis=0), compute_uv=False)
    assert singular[1] / singular[0] > 0.1


def test_seeds():
    make = wi.datasets.simulate_spectra
    a, b = make(10, 30, seed=3), make(10, 30, seed=np.random.default_rng(3))
    np.testing.assert_array_equal(a.X, b.X)
    assert not np.array_equal(a.X, make(10, 30, seed=4).X)
    assert a.uns["simulate_spectra"]["params"] == {"n_obs": 10, "n_wavenumbers": 30, "noise": 0.02, "seed": 3}
    assert b.uns["simulate_spectra"]["params"]["seed"] == "not recorded"
    np.testing.assert_array_equal(a.obsm["true_factors"], make(10, 50, noise=1, seed=3).obsm["true_factors"])


def test_survives_writing(tmp_path):
    adata = wi.datasets.simulate_spectra(12, 40)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(back.X, adata.X)
    np.testing.assert_array_equal(back.layers["true_mean"], adata.layers["true_mean"])
    np.testing.assert_array_equal(back.obsm["true_factors"], adata.obsm["true_factors"])
    assert back.obs.equals(adata.obs)
    assert back.var.equals(adata.var)
    assert back.uns["simulate_spectra"]["params"] == adata.uns["simulate_spectra"]["params"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_obs": 0}, "n_obs=0 must be at least 1"),
        ({"n_wavenumbers": 1}, "n_wavenumbers=1 must be at least 2"),
        ({"noise": -0.1}, "noise=-0.1 must not be negative"),
        ({"noise": np.nan}, "noise=nan"),
    ],
)
def test_out_of_range(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        wi.datasets.simulate_spectra(**kwargs)
