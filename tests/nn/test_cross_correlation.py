import numpy as np
import pytest
import torch

from scwhatif.nn import cross_correlation, unbiased_cross_correlation


def naive(a, b, eps=1e-8):
    a, b = a.double().numpy(), b.double().numpy()
    values = []
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            x, y = a[:, i] - a[:, i].mean(), b[:, j] - b[:, j].mean()
            values.append(((x * y).mean()) ** 2 / ((x**2).mean() * (y**2).mean() + eps))
    return np.mean(values)


def test_equals_a_double_loop():
    torch.manual_seed(0)
    a, b = torch.randn(40, 3), torch.randn(40, 5)
    b[:, 0] += a[:, 1]
    assert cross_correlation(a, b).item() == pytest.approx(naive(a, b), rel=1e-5)


def test_same_dimension_is_the_squared_pearson_correlation():
    torch.manual_seed(0)
    a, b = torch.randn(30, 1), torch.randn(30, 1)
    expected = np.corrcoef(a[:, 0], b[:, 0])[0, 1] ** 2
    assert cross_correlation(a, b).item() == pytest.approx(expected, rel=1e-4)
    assert cross_correlation(a, a).item() == pytest.approx(1.0, abs=1e-6)


def test_independent_columns_have_one_over_n_minus_one():
    generator = torch.Generator().manual_seed(0)
    values = [
        cross_correlation(torch.randn(64, 8, generator=generator), torch.randn(64, 8, generator=generator))
        for _ in range(40)
    ]
    assert torch.stack(values).mean().item() == pytest.approx(1 / 63, abs=0.003)


def test_constant_column_counts_nothing_and_has_a_finite_gradient():
    a = torch.ones(16, 2, requires_grad=True)
    value = cross_correlation(a, torch.randn(16, 3))
    value.backward()
    assert value.item() == 0.0
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("n_rows", [0, 1])
def test_too_few_rows(n_rows):
    assert cross_correlation(torch.randn(n_rows, 2), torch.randn(n_rows, 2)).item() == 0.0
    assert unbiased_cross_correlation(torch.randn(n_rows, 2), torch.randn(n_rows, 2)).item() == 0.0


def test_unbiased_value_tells_a_copy_from_nothing():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(10_000, 8, generator=generator), torch.randn(10_000, 8, generator=generator)
    assert abs(unbiased_cross_correlation(a, b).item()) < 1e-3
    b[:, :2] = a[:, :2]
    assert unbiased_cross_correlation(a, b).item() > 1e-2
