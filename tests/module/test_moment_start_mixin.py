import torch

from scwhatif.module import BetaLinearVAE


def test_bias_starts_at_the_profile_of_all_counts():
    module = BetaLinearVAE(3)
    total = torch.tensor([[10.0, 30.0, 60.0]])
    assert not module.initialized
    module.initialize(total, total.square(), torch.tensor([[100.0]]), torch.tensor([[20.0]]))
    torch.testing.assert_close(module.decoder.bias.detach().exp(), total[0] / 100)
    assert module.initialized


def test_scales_start_at_the_moments_of_continuous_features():
    module = BetaLinearVAE(2, gene_likelihood="normal")
    x = torch.tensor([[1.0, -2.0], [3.0, 6.0]])
    module.initialize(x.sum(0, keepdim=True), x.square().sum(0, keepdim=True), torch.ones(1, 1), torch.tensor([[2.0]]))
    torch.testing.assert_close(module.input_mean, torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(module.input_std, torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(module.log_dispersion.detach().exp(), torch.tensor([1.0, 16.0]))
