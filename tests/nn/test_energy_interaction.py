import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scwhatif.nn import EnergyInteraction


def fixed(energy, coupling=1.0, t_init=None, **kwargs):
    """An interaction whose energy is a given number."""
    layer = EnergyInteraction("scalar", n_environment=1, lambda_init=coupling, t_init=t_init, **kwargs)
    with torch.no_grad():
        layer.energy_head.weight.zero_()
        layer.energy_head.bias.fill_(energy + math.log(-math.expm1(-energy)) if energy > 0 else -200.0)
    return layer


@pytest.mark.parametrize(
    ("score", "energy", "coupling", "logit"), [(2, 3, 1, 5), (2, 0, 1, 2), (2, 3, 0, -1), (-2, 3, 1, -11)]
)
def test_values_by_hand(score, energy, coupling, logit):
    found = fixed(energy, coupling)(torch.tensor([[float(score)]]), torch.zeros(1, 1))
    assert found.item() == pytest.approx(logit, abs=1e-5)


def test_temperature_starts_at_one_and_the_literal_seed_is_selectable():
    assert EnergyInteraction().temperature().item() == pytest.approx(1.0, abs=1e-6)
    assert EnergyInteraction(t_init=0.0).temperature().item() == pytest.approx(math.log(2), abs=1e-6)


def test_single_precision_is_enough_and_large_values_stay_finite():
    layer = fixed(3.0, 0.3)
    score = torch.linspace(-50, 50, 101).unsqueeze(1)
    single = layer(score, torch.zeros(101, 1))
    double = layer.double()(score.double(), torch.zeros(101, 1, dtype=torch.float64))
    assert ((single.double() - double).abs() / double.abs().clamp(min=1)).max() < 1e-5
    large = fixed(1000.0, 1.0)(torch.tensor([[1e3], [-1e3]]), torch.zeros(2, 1))
    assert torch.isfinite(large).all()


def test_energy_is_never_negative():
    for kind in ("scalar", "channels"):
        layer = EnergyInteraction(kind, n_environment=4, n_channels=3)
        with torch.no_grad():
            layer.energy_head.weight.normal_().mul_(100)
        assert layer.energy(torch.randn(50, 4)).min() >= 0


def test_energy_starts_quiet():
    layer = EnergyInteraction(n_environment=4)
    assert layer.energy(torch.zeros(1, 4)).item() == pytest.approx(0.018, abs=1e-3)


def test_channels_are_a_sum_and_one_channel_is_the_scalar_form():
    torch.manual_seed(0)
    layer = EnergyInteraction("channels", n_environment=3, n_channels=4, lambda_init=0.2)
    score, z = torch.randn(5, 4), torch.randn(5, 3)
    energy = layer.energy(z)
    expected = (score - energy + layer.coupling * score * energy).sum(1) / layer.temperature()
    torch.testing.assert_close(layer(score, z), expected)
    one, scalar = EnergyInteraction("channels", n_environment=3, n_channels=1), EnergyInteraction(n_environment=3)
    scalar.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(score[:, :1], z), scalar(score[:, :1], z))


def test_scalar_energy_keeps_the_order_of_pairs_and_channels_do_not():
    torch.manual_seed(0)
    score, z = torch.randn(40, 8), torch.randn(1, 3).expand(40, 3)
    scalar = fixed(2.0, 0.4)(score[:, :1], torch.zeros(40, 1))
    assert torch.equal(scalar.argsort(), score[:, 0].argsort())
    turned = fixed(2.0, -0.9)(score[:, :1], torch.zeros(40, 1))
    assert torch.equal(turned.argsort(), (-score[:, 0]).argsort())
    layer = EnergyInteraction("channels", n_environment=3, n_channels=8, lambda_init=2.0)
    with torch.no_grad():
        layer.energy_head.bias.zero_()
    assert not torch.equal(layer(score, z).argsort(), score.sum(1).argsort())


def test_linear_form_without_effects_is_the_score_and_with_them_the_scalar_form():
    layer = EnergyInteraction("linear", n_environment=1)
    score = torch.randn(6, 1)
    torch.testing.assert_close(layer(score, torch.randn(6, 1)), score[:, 0])
    with torch.no_grad():
        layer.slope.weight.fill_(0.3)
        layer.shift.weight.fill_(-1.0)
    energy = torch.full((6, 1), 2.0)
    torch.testing.assert_close(layer(score, energy), fixed(2.0, 0.3)(score, torch.zeros(6, 1)))


def test_no_environment_is_the_score_over_the_temperature():
    for kind in ("scalar", "channels", "linear", "none"):
        layer = EnergyInteraction(kind, n_environment=2, n_channels=3, t_init=1.0)
        score = torch.randn(4, layer.n_channels)
        torch.testing.assert_close(layer(score), score.sum(1) / layer.temperature())


def test_temperature_by_line_and_its_bounds():
    layer = EnergyInteraction("scalar", n_environment=2, temperature="line")
    with torch.no_grad():
        layer.line_temperature.weight.copy_(torch.tensor([[1.0, 0.0]]))
    values = layer.temperature(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert values.shape == (2, 1)
    assert values[1] > values[0]
    assert [name for name, _ in EnergyInteraction().named_parameters() if "temperature" in name] == []
    bounded = EnergyInteraction(t_init=-20.0, temperature_range=(0.5, 2.0))
    assert bounded.temperature().item() == 0.5


@settings(deadline=None, max_examples=30)
@given(coupling=st.floats(-0.4, 0.4), energy=st.floats(0.1, 3.0), shift=st.floats(-1.0, 1.0), scale=st.floats(0.3, 3.0))
def test_gauge_group_leaves_logits_alone(coupling, energy, shift, scale):
    """Scale (U, R, λ, T) → (kU, kR, λ/k, kT) and shift U → U + s, R → (1+λs)(R + s + λsR), and so on."""
    score, temperature = np.linspace(-3, 3, 7), 0.8
    logit = (score - energy + coupling * score * energy) / temperature
    turned = 1 + coupling * shift
    moved = turned * (energy + shift + coupling * shift * energy)
    u, c, t = score + shift, coupling / turned, temperature * turned
    np.testing.assert_allclose((u - moved + c * u * moved) / t, logit, atol=1e-6)
    u, r, c, t = scale * score, scale * energy, coupling / scale, scale * temperature
    np.testing.assert_allclose((u - r + c * u * r) / t, logit, atol=1e-6)
