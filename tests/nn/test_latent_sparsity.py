import pytest
import torch

from scwhatif.nn import latent_sparsity


def test_values():
    z = torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.5, 3.0]])
    assert latent_sparsity(z).item() == pytest.approx((3.0 + 3.5) / 2)
    assert latent_sparsity(z, reduction="mean").item() == pytest.approx(6.5 / 6)
    assert latent_sparsity(z, kind="l2").item() == pytest.approx((5.0 + 9.25) / 4)


def test_gradient_is_the_sign_over_the_rows():
    z = torch.randn(5, 4, requires_grad=True)
    (0.01 * latent_sparsity(z)).backward()
    torch.testing.assert_close(z.grad, 0.01 / 5 * z.detach().sign())


def test_sparsity_rises_with_the_weight():
    def zeros(weight):
        torch.manual_seed(0)
        x = torch.randn(200, 8)
        layer = torch.nn.Linear(8, 16)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        for _ in range(60):
            z = layer(x).relu()
            loss = (z.sum(1) - x.abs().sum(1)).square().mean() + weight * latent_sparsity(z)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return (layer(x).relu() == 0).float().mean().item()

    shares = [zeros(weight) for weight in (0.0, 3.0, 30.0)]
    assert shares == sorted(shares)
    assert shares[2] > shares[0] + 0.1
