import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from scwhatif.nn import cell_line_contrast


def naive(e, lines, temperature, groups=None):
    losses = []
    for i in range(len(e)):
        numerator = denominator = 0.0
        for j in range(len(e)):
            if j == i or (groups is not None and (lines[i] != lines[j] or groups[i] < 0 or groups[j] < 0)):
                continue
            s = math.exp(float(cosine_similarity(e[i], e[j], dim=0)) / temperature)
            denominator += s
            if lines[i] == lines[j] and (groups is None or groups[i] == groups[j]):
                numerator += s
        if numerator:
            losses.append(-math.log(numerator / denominator))
    return sum(losses) / len(losses)


def test_equals_a_double_loop():
    torch.manual_seed(0)
    e, lines = torch.randn(12, 4), torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3])
    assert cell_line_contrast(e, lines, temperature=0.2).item() == pytest.approx(naive(e, lines, 0.2), rel=1e-5)
    groups = torch.tensor([0, 1, 1, 0, 1, -1, 0, 1, 1, 0, -1, 0])
    found = cell_line_contrast(e, lines, temperature=0.2, groups=groups)
    assert found.item() == pytest.approx(naive(e, lines, 0.2, groups), rel=1e-5)


def test_random_codes_cost_about_the_share_of_positives():
    torch.manual_seed(0)
    lines = torch.arange(4).repeat_interleave(16)
    values = [cell_line_contrast(torch.randn(64, 64), lines, temperature=1.0).item() for _ in range(10)]
    assert sum(values) / 10 == pytest.approx(-math.log(15 / 63), abs=0.03)


def test_separated_lines_cost_nothing():
    lines = torch.arange(4).repeat_interleave(8)
    e = torch.eye(4)[lines] + 1e-3 * torch.randn(32, 4)
    assert cell_line_contrast(e, lines).item() < 1e-2


def test_a_single_line_is_refused():
    with pytest.raises(ValueError, match="lines_per_episode=2"):
        cell_line_contrast(torch.randn(8, 3), torch.zeros(8, dtype=torch.long))


def test_no_positive_at_all_is_zero_with_a_gradient():
    e = torch.randn(3, 2, requires_grad=True)
    value = cell_line_contrast(e, torch.arange(3))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(e.grad, torch.zeros(3, 2))


def test_gradient_is_finite_and_pulls_lines_together():
    torch.manual_seed(0)
    lines = torch.arange(2).repeat_interleave(6)
    e = torch.randn(12, 3, requires_grad=True)
    before = cell_line_contrast(e, lines)
    before.backward()
    assert torch.isfinite(e.grad).all()
    after = cell_line_contrast(e.detach() - 0.1 * e.grad, lines)
    assert after < before
