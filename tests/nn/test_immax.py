import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from scwhatif.nn import ImmaxLoss, immax_probability


def batch(n=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, generator=generator), (torch.rand(n, generator=generator) < 0.3).float()


def test_equal_margins_are_binary_cross_entropy():
    logit, label = batch()
    torch.testing.assert_close(ImmaxLoss("fixed")(logit, label), binary_cross_entropy_with_logits(logit, label))
    torch.testing.assert_close(ImmaxLoss("fixed").probability(logit), torch.sigmoid(logit))


def test_equals_a_loop():
    logit, label = batch()
    loss = ImmaxLoss("fixed", rho_positive=0.5)
    terms = [
        math.log1p(math.exp(-h / 0.5)) if y else math.log1p(math.exp(h / 1.5))
        for h, y in zip(logit.tolist(), label.tolist(), strict=True)
    ]
    assert loss(logit, label).item() == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_or_no_row_is_finite(label):
    loss = ImmaxLoss("adaptive")
    logit = torch.tensor([200.0, -200.0], requires_grad=True)
    value = loss(logit, torch.full((2,), label))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logit.grad).all()
    before = loss.rho.clone()
    loss.update(logit.detach(), torch.full((2,), label))
    assert torch.equal(loss.rho, before)
    assert loss(torch.zeros(0), torch.zeros(0)).item() == 0.0


def test_theory_is_the_cube_root_of_the_counts():
    loss = ImmaxLoss("theory")
    loss.set_counts(20_000, 1_000)
    assert loss.rho[1].item() / 2 == pytest.approx(0.269, abs=1e-3)
    assert loss.rho.sum().item() == pytest.approx(2.0)


def test_theory_follows_the_radii_of_the_classes():
    loss = ImmaxLoss("theory")
    loss.set_counts(100, 100)
    code = torch.ones(10, 4)
    label = torch.tensor([1.0] * 5 + [0.0] * 5)
    code[:5] *= 8
    loss.update(torch.zeros(10), label, code)
    # radii 8 : 1, to the power of 2/3
    assert (loss.rho[1] / loss.rho[0]).item() == pytest.approx(4.0, rel=1e-4)


def test_adaptive_margin_converges_to_the_rule_of_the_source():
    """20 : 1 with equal margins of 0.1, in a gauge where the shares add up to 1."""
    loss = ImmaxLoss("adaptive")
    label = torch.tensor([1.0] + [0.0] * 20)
    margin = torch.full((21,), 0.2)
    for _ in range(300):
        loss.update(torch.where(label == 1, margin, -margin), label)
    assert loss.rho[1].item() / 2 == pytest.approx(0.162, abs=2e-3)


def test_fixed_margins_stay():
    loss = ImmaxLoss("fixed", rho_positive=0.6)
    logit, label = batch()
    loss.set_counts(100, 1)
    loss.update(logit, label, torch.randn(50, 3))
    torch.testing.assert_close(loss.rho, torch.tensor([1.4, 0.6]))


def test_probability_at_zero_and_monotone():
    rho_positive, rho_negative = torch.tensor(0.4), torch.tensor(1.6)
    assert immax_probability(torch.zeros(()), rho_positive, rho_negative).item() == pytest.approx(0.2)
    values = immax_probability(torch.linspace(-60, 60, 200), rho_positive, rho_negative)
    assert torch.isfinite(values).all()
    assert (values.diff() >= 0).all()


@pytest.mark.parametrize("eta", [0.05, 0.3, 0.8])
def test_probability_is_the_one_at_which_the_loss_is_smallest(eta):
    """The best constant logit for a share η of positives, mapped back by the link, is η."""
    loss = ImmaxLoss("fixed", rho_positive=0.5).double()
    logit = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit], max_iter=200, tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        h = logit.reshape(1)
        value = eta * loss(h, torch.ones(1)) + (1 - eta) * loss(h, torch.zeros(1))
        value.backward()
        return value

    optimizer.step(closure)
    assert loss.probability(logit).item() == pytest.approx(eta, abs=1e-4)


@pytest.mark.parametrize(("kwargs", "match"), [({"mode": "x"}, "mode='x'"), ({"rho_positive": 2.0}, "rho_positive")])
def test_bad_settings(kwargs, match):
    with pytest.raises(ValueError, match=match):
        ImmaxLoss(**kwargs)
