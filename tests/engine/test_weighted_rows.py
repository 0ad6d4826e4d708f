from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import sparse

from scwhatif.engine._weighted_rows import weighted_rows


@pytest.mark.parametrize("index_type", [np.int32, np.int64])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.6])
def test_is_a_sparse_product(density: float, index_type: type):
    x = sparse.random(30, 400, density, format="csr", dtype=np.float32, random_state=0)
    weight = torch.randn(400, 7, generator=torch.Generator().manual_seed(0))
    found = weighted_rows(weight, x.indices.astype(index_type), x.indptr, torch.from_numpy(x.data))
    wanted = x.toarray().astype(np.float64) @ weight.double().numpy()
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_rows_of_every_length_and_none():
    rng = np.random.default_rng(0)
    counts = np.array([0, 1, 63, 64, 65, 0, 128, 129, 500, 0])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    indices, values = rng.integers(50, size=counts.sum()), rng.normal(size=counts.sum()).astype(np.float32)
    weight = rng.normal(size=(50, 3)).astype(np.float32)
    found = weighted_rows(torch.from_numpy(weight), indices, offsets, torch.from_numpy(values)).numpy()
    for i, (start, stop) in enumerate(pairwise(offsets)):
        wanted = values[start:stop].astype(np.float64) @ weight[indices[start:stop]]
        np.testing.assert_allclose(found[i], wanted, atol=2e-5)
    nothing = weighted_rows(torch.from_numpy(weight), indices[:0], np.zeros(1, np.int64), torch.empty(0))
    assert nothing.shape == (0, 3)


def test_long_sums_are_more_exact_than_one_after_another():
    n = 20_000
    weight = torch.full((1, 1), 0.1)
    found = weighted_rows(weight, np.zeros(n, np.int64), np.array([0, n]), torch.ones(n))
    one_by_one = np.cumsum(np.full(n, weight[0, 0].item(), np.float32))[-1]
    wanted = n * np.float64(weight[0, 0].item())
    assert abs(found.item() - wanted) < abs(one_by_one - wanted) / 10
