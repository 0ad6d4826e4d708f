import numpy as np
import pytest
import torch

from scwhatif.engine._feature_transform import FeatureTransform

N_CELLS, N_FEATURES = 6, 9
CENTER, SCALE = np.linspace(-1, 1, N_FEATURES), np.linspace(0.5, 3, N_FEATURES)
TRANSFORMS = {
    "log1p": FeatureTransform(),
    "identity": FeatureTransform(log1p=False),
    "standardised": FeatureTransform(log1p=False, center=CENTER, scale=SCALE),
    "by mean": FeatureTransform(by_mean=True),
}


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).poisson(3, (N_CELLS, N_FEATURES)).astype(np.float32)


def by_hand(name: str, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    if name == "by mean":
        x = x / (1 + x.mean(1, keepdims=True))
    return {"identity": x, "standardised": (x - CENTER) / SCALE}.get(name, np.log1p(x))


def of_cells(name: str, x: np.ndarray, log_scale: np.ndarray | float = 0.0) -> np.ndarray:
    transform = TRANSFORMS[name]
    factor = transform.log_factor(x.sum(1, dtype=np.float64), N_FEATURES, log_scale)
    return transform.cells(torch.from_numpy(x), torch.from_numpy(factor)).numpy()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_whole_cells(name: str, x: np.ndarray):
    np.testing.assert_allclose(of_cells(name, x), by_hand(name, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_rescaled_cells(name: str, x: np.ndarray):
    log_scale = np.linspace(-1, 1, N_CELLS)
    wanted = by_hand(name, x * np.exp(log_scale)[:, None])
    np.testing.assert_allclose(of_cells(name, x, log_scale), wanted, rtol=1e-5, atol=1e-6)


def test_no_factor_is_a_factor_of_one(x: np.ndarray):
    values = torch.from_numpy(x)
    transform = TRANSFORMS["standardised"]
    assert torch.equal(transform.cells(values), transform.cells(values, torch.zeros(N_CELLS)))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("scaled", [False, True])
def test_change_is_the_difference(name: str, scaled: bool, x: np.ndarray):
    features, after = np.arange(N_FEATURES), np.linspace(0, 7, N_FEATURES).astype(np.float32)
    factor = np.full(N_FEATURES, -0.7) if scaled else None
    before, edited = torch.from_numpy(x[:1]), torch.from_numpy(after[None])
    if scaled:
        before, edited = before * np.exp(-0.7), edited * np.exp(-0.7)
    wanted = TRANSFORMS[name].cells(edited.double()) - TRANSFORMS[name].cells(before.double())
    found = TRANSFORMS[name].change(x[0], after, features, factor)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted[0].numpy(), rtol=1e-6, atol=1e-6)


def test_small_changes_of_large_values_are_not_lost():
    before, after = np.float32([1e6]), np.float32([1.0001e6])
    found = TRANSFORMS["log1p"].change(before, after, np.zeros(1, np.int64))
    np.testing.assert_allclose(found, np.log1p(np.float64(after)) - np.log1p(np.float64(before)), rtol=1e-6)
