import pytest
import torch

from scwhatif.nn import DriverEncoder

KINDS = ["attention", "deepset", "linear"]


def drivers(n_rows, n_drivers, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(n_rows, n_drivers, generator=generator) < 0.5).float()
    return x, torch.rand(n_rows, n_drivers, generator=generator) < 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_positive_variance(kind):
    encoder = DriverEncoder(19, 5, kind=kind)
    mean, variance = encoder(*drivers(7, 19))
    assert mean.shape == variance.shape == (7, 5)
    assert (variance > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_called_does_not_leak_and_differs_from_zero(kind):
    torch.manual_seed(0)
    encoder = DriverEncoder(6, 3, kind=kind).eval()
    x, called = drivers(10, 6)
    called[:, 2] = False
    if kind != "linear":
        torch.nn.init.normal_(encoder.absent_value)
    wanted = encoder(x, called)[0]
    x[:, 2] = torch.nan
    assert torch.equal(encoder(x, called)[0], wanted)
    x[:, 2] = 0.0
    called[:, 2] = True
    assert (encoder(x, called)[0] - wanted).abs().max() > 1e-3


def test_attention_is_between_all_drivers_and_the_summary():
    encoder = DriverEncoder(19, 5).eval()
    weights = encoder.attention(*drivers(3, 19))
    assert weights.shape == (3, 4, 20, 20)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 20))
    with pytest.raises(TypeError, match="'linear' has no attention"):
        DriverEncoder(19, 5, kind="linear").attention(*drivers(3, 19))


@pytest.mark.parametrize("kind", ["attention", "deepset"])
def test_order_of_the_drivers_does_not_matter(kind):
    encoder, other = DriverEncoder(8, 3, kind=kind).eval(), DriverEncoder(8, 3, kind=kind).eval()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    state = encoder.state_dict()
    for name in ("identity", "value", "absent_value"):
        state[name] = state[name][order]
    other.load_state_dict(state)
    x, called = drivers(5, 8)
    torch.testing.assert_close(other(x[:, order], called[:, order])[0], encoder(x, called)[0], rtol=0, atol=1e-5)


def r2_on_held_out(kind, target):
    """Train on half of the rows to predict ``target(x)`` from the mean; R² on the other half."""
    torch.manual_seed(0)
    x, _ = drivers(1500, 6)
    called = torch.ones_like(x, dtype=torch.bool)
    y = target(x)
    encoder = DriverEncoder(6, 1, kind=kind, dropout_rate=0.0)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        (encoder(x[:1000], called[:1000])[0].squeeze(-1) - y[:1000]).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        error = encoder.eval()(x[1000:], called[1000:])[0].squeeze(-1) - y[1000:]
    return float(1 - error.square().mean() / y[1000:].var())


def interaction(x):
    return (2 * x[:, 0] - 1) * (2 * x[:, 1] - 1)


def additive(x):
    return x @ torch.tensor([1.0, -1.0, 0.5, 0.0, 0.0, 2.0])


@pytest.mark.slow
def test_attention_finds_an_interaction_without_main_effects_and_an_additive_encoder_cannot():
    assert r2_on_held_out("attention", interaction) > 0.8
    assert r2_on_held_out("linear", interaction) < 0.1


@pytest.mark.slow
def test_attention_is_not_worse_where_there_is_no_interaction():
    assert r2_on_held_out("attention", additive) > r2_on_held_out("linear", additive) - 0.01


def test_bad_settings():
    with pytest.raises(ValueError, match="driver_encoder='mlp' is not one of"):
        DriverEncoder(3, 2, kind="mlp")
    with pytest.raises(ValueError, match="n_hidden=30"):
        DriverEncoder(3, 2, n_hidden=30)
