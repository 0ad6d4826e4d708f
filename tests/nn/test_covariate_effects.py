import torch

from scwhatif.nn import CovariateEffects


def test_effects_add_up():
    effects = CovariateEffects([2, 3], 2, 4)
    with torch.no_grad():
        for i, parameter in enumerate(effects.parameters()):
            parameter.copy_(torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape) + 10 * i)
    first = torch.tensor([[1], [0]])
    second = torch.tensor([[2], [1]])
    continuous = torch.tensor([[0.5, -1.0], [0.0, 2.0]])
    result = effects([first, second], continuous)
    for cell in range(2):
        expected = (
            effects.tables[0][first[cell, 0]]
            + effects.tables[1][second[cell, 0]]
            + continuous[cell, 0] * effects.slopes[0]
            + continuous[cell, 1] * effects.slopes[1]
        )
        torch.testing.assert_close(result[cell], expected)


def test_no_covariates_is_zero_without_parameters():
    effects = CovariateEffects([], 0, 4)
    assert effects([], None) == 0
    assert not list(effects.parameters())
