"""Deviations of modified sites from a reference, against a naive computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scwhatif.tl._storm_score import LayerValues, fit_site_scale, layer_storms, parent_mean


@pytest.fixture
def layers():
    """Three sites: of one protein, of two, of none; with gaps."""
    rng = np.random.default_rng(0)
    protein = rng.normal(size=(60, 4))
    sites = rng.normal(size=(60, 3)) + np.c_[2 * protein[:, 1], protein[:, [0, 2]].mean(1), np.full(60, 5.0)]
    observed = rng.random(sites.shape) < 0.9
    protein_observed = rng.random(protein.shape) < 0.8
    parents = torch.tensor([[1, -1], [0, 2], [-1, -1]])
    both = [LayerValues(torch.tensor(v), torch.tensor(o)) for v, o in ((sites, observed), (protein, protein_observed))]
    return *both, parents, torch.tensor(rng.random(60) < 0.5)


def naive_parent(protein: LayerValues, row: int, positions: list[int]) -> float:
    found = [float(protein.values[row, p]) for p in positions if p >= 0 and protein.observed[row, p]]
    return float(np.mean(found)) if found else np.nan


def test_scale_and_deviations_match_a_naive_regression(layers):
    sites, protein, parents, reference = layers
    scale = fit_site_scale(sites, protein, parents, reference)
    found = scale.deviations(sites, protein)
    for j in range(3):
        x = np.array([naive_parent(protein, i, parents[j].tolist()) for i in range(60)])
        y = np.where(sites.observed[:, j], sites.values[:, j], np.nan)
        if j == 2:
            slope, residual = 0.0, y - np.nanmean(y)
        else:
            used = ~np.isnan(x) & ~np.isnan(y)
            slope, intercept = np.polyfit(x[used], y[used], 1)
            residual = y - slope * x - intercept
        inside = residual[reference.numpy()]
        wanted = (residual - np.nanmean(inside)) / np.nanstd(inside, ddof=1)
        assert float(scale.slope[j]) == pytest.approx(slope, abs=1e-10)
        np.testing.assert_array_equal(found.observed[:, j], ~np.isnan(wanted))
        np.testing.assert_allclose(found.values[:, j][found.observed[:, j]], wanted[~np.isnan(wanted)], atol=1e-8)


def test_storm_is_the_root_mean_square_of_what_was_measured(layers):
    sites, protein, parents, reference = layers
    u = fit_site_scale(sites, protein, parents, reference).deviations(sites, protein)
    nothing = LayerValues(u.values, torch.zeros_like(u.observed))
    storms = layer_storms([u, nothing, LayerValues.whole(u.values)])
    wanted = np.sqrt(np.nanmean(np.where(u.observed, u.values**2, np.nan), axis=1))
    np.testing.assert_allclose(storms[:, 0], wanted)
    assert storms[:, 1].isnan().all()
    np.testing.assert_allclose(storms[:, 2], np.sqrt((u.values**2).mean(dim=1)))


def test_sites_that_do_not_vary_in_the_reference_are_left_out(layers):
    sites, protein, parents, reference = layers
    values = sites.values.clone()
    values[:, 2] = 1.0
    scale = fit_site_scale(LayerValues(values, sites.observed), protein, parents, reference)
    assert scale.usable.tolist() == [True, True, False]
    assert scale.deviations(sites, protein).values.shape == (60, 2)


def test_few_common_samples_give_no_slope(layers):
    sites, protein, parents, reference = layers
    few = LayerValues(protein.values, protein.observed & (torch.arange(60) < 8)[:, None])
    scale = fit_site_scale(sites, few, parents, reference)
    assert (scale.slope == 0).all()
    # a site without a slope does not wait for its parent
    np.testing.assert_array_equal(scale.deviations(sites, few).observed, sites.observed)
    alone = fit_site_scale(sites, None, None, reference)
    np.testing.assert_allclose(alone.center, scale.center)


def test_mean_of_measured_parents(layers):
    _, protein, parents, _ = layers
    mean, there = parent_mean(protein, parents)
    for i in range(60):
        for j in range(3):
            wanted = naive_parent(protein, i, parents[j].tolist())
            assert bool(there[i, j]) == (not np.isnan(wanted))
            assert float(mean[i, j]) == pytest.approx(0.0 if np.isnan(wanted) else wanted)


def test_the_storm_has_a_gradient_at_its_minimum():
    values = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    layer_storms([LayerValues.whole(values)]).sum().backward()
    assert torch.isfinite(values.grad).all()
