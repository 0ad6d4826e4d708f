"""Indicators of collapse against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import scwhatif as wi


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 12)) * np.linspace(1, 3, 12) + 0.5


def test_against_naive(cloud):
    labels = np.repeat(["a", "b", "c"], 100)
    found = wi.metrics.embedding_indicators(cloud, groups=labels)
    eigenvalues = np.linalg.eigvalsh(np.cov(cloud.T))[::-1]
    p = eigenvalues / eigenvalues.sum()
    q = np.sqrt(eigenvalues) / np.sqrt(eigenvalues).sum()
    unit = cloud / np.linalg.norm(cloud, axis=1, keepdims=True)
    squared = np.square(unit[:, None] - unit[None]).sum(axis=2)
    pairs = np.triu_indices(300, 1)
    same = (labels[:, None] == labels[None]) & ~np.eye(300, dtype=bool)
    within = sum(np.square(cloud[labels == name] - cloud[labels == name].mean(axis=0)).sum() for name in "abc")
    expected = {
        "erank": np.exp(-(q * np.log(q)).sum()),
        "erank_cov": np.exp(-(p * np.log(p)).sum()),
        "top1": p[0],
        "participation": 1 / np.square(p).sum(),
        "spread": eigenvalues.sum() / np.square(cloud.mean(axis=0)).sum(),
        "uniformity": np.log(np.exp(-2 * squared[pairs]).mean()),
        "alignment": squared[same].mean(),
        "within_share": within / np.square(cloud - cloud.mean(axis=0)).sum(),
        "pcf50": (np.argmax(np.cumsum(p) >= 0.5) + 1) / 12,
        "n_active": 12,
        "n_groups": 3,
    }
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-9, err_msg=name)
    farthest = np.sort(np.square(cloud - cloud.mean(axis=0)).sum(axis=1))
    assert_allclose(found["tail_share"], farthest[-1] / farthest.sum())


def test_decay_of_a_power_law():
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.normal(size=(400, 20)) - 0)[0]
    u -= u.mean(axis=0)
    u = np.linalg.qr(u)[0]
    z = u * np.arange(1, 21) ** -0.75  # eigenvalues fall as k ** -1.5
    assert_allclose(wi.metrics.embedding_indicators(z)["alpha"], 1.5, rtol=1e-6)


def test_few_rows_have_no_floor():
    z = np.random.default_rng(0).normal(size=(4, 768))
    assert wi.metrics.embedding_indicators(z)["erank_ratio"] > 0.95


def test_drawn_pairs_are_close_to_all_pairs(cloud):
    many = np.tile(cloud, (3, 1)) + np.random.default_rng(1).normal(size=(900, 12))
    unit = many / np.linalg.norm(many, axis=1, keepdims=True)
    squared = 2 - 2 * (unit @ unit.T)
    exact = np.log(np.exp(-2 * squared[np.triu_indices(900, 1)]).mean())
    assert_allclose(wi.metrics.embedding_indicators(many)["uniformity"], exact, atol=0.03)


def test_single_precision_is_enough(cloud):
    low = wi.metrics.embedding_indicators((cloud + 100).astype(np.float32))
    high = wi.metrics.embedding_indicators((cloud + 100).astype(np.float32).astype(np.float64))
    assert_allclose(low["erank"], high["erank"], rtol=1e-12)


def test_bad_input(cloud):
    with pytest.raises(ValueError, match=r"shape \(300,\)"):
        wi.metrics.embedding_indicators(cloud[:, 0])
    with pytest.raises(ValueError, match="two rows or more"):
        wi.metrics.embedding_indicators(cloud[:1])
    cloud[7, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 300 rows of the embedding hold NaN or infinite values, first row 7"):
        wi.metrics.embedding_indicators(cloud)
    with pytest.raises(ValueError, match="one label for each of the 299 rows"):
        wi.metrics.embedding_indicators(np.delete(cloud, 7, axis=0), groups=np.zeros(3))
