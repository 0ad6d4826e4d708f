"""Tests of readouts against plain arithmetic."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from scwhatif.engine import DistanceReadout, LinearReadout

Z = np.random.default_rng(0).normal(size=(50, 3))


def test_linear():
    vector = np.array([1.0, -2.0, 0.5])
    found = LinearReadout(vector, 3.0)(torch.from_numpy(Z))
    np.testing.assert_allclose(found.numpy(), Z @ vector + 3)


def test_distance_is_that_of_mahalanobis():
    covariance = np.cov(np.random.default_rng(1).normal(size=(3, 9)))
    center = np.array([1.0, 0.0, -1.0])
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
    found = DistanceReadout(center, whitening)(torch.from_numpy(Z))
    off = Z - center
    np.testing.assert_allclose(found.numpy(), np.sqrt(np.einsum("ij,jk,ik->i", off, np.linalg.inv(covariance), off)))


@pytest.mark.parametrize("readout", [LinearReadout(np.ones(3)), DistanceReadout(np.zeros(3), np.eye(3))])
def test_takes_the_type_of_the_code_and_survives_a_pickle(readout: LinearReadout | DistanceReadout):
    z = torch.from_numpy(Z).float()
    assert readout(z).dtype == torch.float32
    torch.testing.assert_close(pickle.loads(pickle.dumps(readout))(z), readout(z))
