import math

import pytest
import torch

from scwhatif.nn import cross_correlation, hsic


def naive(a, b, eps=1e-8):
    a, b = a.double(), b.double()
    n = len(a)

    def kernel(code):
        apart = [[float(((code[i] - code[j]) ** 2).sum()) for j in range(n)] for i in range(n)]
        width = sum(map(sum, apart)) / n**2
        return [[math.exp(-each / width) for each in row] for row in apart]

    def centred_trace(k, m):
        """tr(K H L H), pair by pair."""
        rows_k, rows_m = ([sum(row) / n for row in each] for each in (k, m))
        all_k, all_m = sum(rows_k) / n, sum(rows_m) / n
        total = 0.0
        for i in range(n):
            for j in range(n):
                total += (k[i][j] - rows_k[i] - rows_k[j] + all_k) * (m[i][j] - rows_m[i] - rows_m[j] + all_m)
        return total

    k, m = kernel(a), kernel(b)
    return centred_trace(k, m) / (math.sqrt(centred_trace(k, k) * centred_trace(m, m)) + eps)


def test_equals_a_double_loop():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(25, 3, generator=generator), torch.randn(25, 5, generator=generator)
    b[:, 0] += a[:, 1] ** 2
    assert hsic(a, b).item() == pytest.approx(naive(a, b), rel=1e-4)


def test_bounds_symmetry_and_scale():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 3, generator=generator), torch.randn(40, 2, generator=generator)
    assert hsic(a, a).item() == pytest.approx(1.0, abs=1e-5)
    assert 0 <= hsic(a, b).item() < 1
    assert hsic(a, b).item() == pytest.approx(hsic(b, a).item(), rel=1e-5)
    assert hsic(7 * a - 3, b).item() == pytest.approx(hsic(a, b).item(), rel=1e-3)


def test_sees_what_correlation_does_not():
    generator = torch.Generator().manual_seed(0)
    a = torch.linspace(-1, 1, 400).unsqueeze(1)
    bent, other = a.square(), torch.randn(400, 1, generator=generator).square()
    assert cross_correlation(a, bent).item() < 1e-6
    assert hsic(a, bent).item() > 10 * hsic(a, other).item()


def test_falls_with_the_number_of_rows_where_nothing_is_shared():
    generator = torch.Generator().manual_seed(0)
    values = [
        hsic(torch.randn(n, 4, generator=generator), torch.randn(n, 4, generator=generator)).item()
        for n in (20, 100, 500)
    ]
    assert values[0] > values[1] > values[2]


def test_gradient_is_that_of_the_value():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(6, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    hsic(a, b).backward()
    assert torch.isfinite(a.grad).all()
    # a step down the slope makes the codes more independent
    assert hsic(a.detach() - 0.1 * a.grad, b) < hsic(a.detach(), b)


def test_constant_and_repeated_rows_have_a_finite_gradient():
    constant = torch.ones(16, 2, requires_grad=True)
    value = hsic(constant, torch.randn(16, 3))
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-5)
    assert torch.isfinite(constant.grad).all()
    repeated = torch.randn(4, 2).repeat(4, 1).requires_grad_()
    hsic(repeated, torch.randn(16, 3)).backward()
    assert torch.isfinite(repeated.grad).all()


@pytest.mark.parametrize("n_rows", [0, 1])
def test_too_few_rows(n_rows):
    assert hsic(torch.randn(n_rows, 2), torch.randn(n_rows, 2)).item() == 0.0
