"""Switching drivers, and integrated gradients."""

from __future__ import annotations

import numpy as np
import torch

from scwhatif.tl._storm_attribution import integrated_gradients, switched


def drivers(n: int = 20, p: int = 6) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).integers(2, size=(n, p)), dtype=torch.float64)


def test_shares_of_a_linear_score_are_its_terms():
    x, weight = drivers(), torch.randn(6, 2, dtype=torch.float64)
    shares, total = integrated_gradients(lambda x: x @ weight + 3.0, x, n_steps=4)
    np.testing.assert_allclose(shares, x[:, :, None] * weight, atol=1e-4)
    np.testing.assert_allclose(total, x @ weight, atol=1e-12)


def test_shares_of_a_curved_score_add_up():
    x, weight = drivers(), torch.randn(6, 4, dtype=torch.float64)

    def score(x: torch.Tensor) -> torch.Tensor:
        # a storm: the norm of what drivers do, away from 0
        return ((x @ weight + 0.7) ** 2).mean(dim=1, keepdim=True).sqrt()

    shares, total = integrated_gradients(score, x, n_steps=64)
    gap = shares.sum(dim=1) - total
    assert float(gap.abs().max()) < 0.01 * float(total.abs().max())
    assert (shares[x == 0] == 0).all()


def test_switching_changes_one_driver_only():
    x, weight = drivers(), torch.randn(6, 2, dtype=torch.float64)
    off, on = switched(lambda x: (x @ weight) ** 2, x, 3)
    for value, found in ((0.0, off), (1.0, on)):
        edited = x.clone()
        edited[:, 3] = value
        np.testing.assert_allclose(found, (edited @ weight) ** 2)
